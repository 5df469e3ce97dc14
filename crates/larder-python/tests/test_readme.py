"""The examples of the README and of the page for those who come from other caches run."""

import pathlib
import re

import pytest

HOME = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("page, least", [("README.md", 4), ("COMING_FROM.md", 5)])
def test_the_examples_run(page, least):
    examples = re.findall(r"^```python\n(.*?)^```", (HOME / page).read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) >= least
    for example in examples:
        # The settings of Django are an example of a file of a program.
        exec(compile(example, page, "exec"), {"__name__": "example"})
