"""A Space of the Hub with the page of `retrieveall demo`. The variable MODEL of the Space selects the model.

python examples/space/app.py
"""

import os

from modeling_retrieveall import RetrieveAllModel
from modeling_retrieveall.integrations.gradio_page import page
from modeling_retrieveall.model.base_llm import native_dtype

demo = page(RetrieveAllModel.from_pretrained(os.environ.get("MODEL", "shipped"), dtype=native_dtype()))

if __name__ == "__main__":
    demo.launch()
