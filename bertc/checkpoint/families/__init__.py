"""A model family is one file here, named as its config.json's `model_type`; `_encoder` is what they share."""
