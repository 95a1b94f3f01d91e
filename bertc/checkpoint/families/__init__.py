"""A model family is one file here, named as its config.json's `model_type`; `_encoder` is what they share.

Each module has `architecture_from_config` and `first_position` as `bert` has, and `PREFIX`: what the names of the
encoder's weights begin with in a model that has a head, which is not always the model type, or several, where files
differ. A family without a table of positions may have `LONGEST_TEXT`, how many tokens a text may have where
config.json has no max_position_embeddings.
"""
