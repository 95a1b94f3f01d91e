"""The use cases, one file each: paths and a recipe in, a result out. Only here all stages meet."""
