"""`anchor run recipe=NAME`: the commands of a chain, one after the other, with gates between them."""

from launch.recipes.command import run, run_recipe

__all__ = ["run", "run_recipe"]
