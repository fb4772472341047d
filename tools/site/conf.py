"""Sphinx's settings for the site; tools/site.py copies the pages and builds them."""

project = html_title = "A course on autoencoders"
language = "en"
extensions = ["myst_nb", "sphinx.ext.githubpages"]
exclude_patterns = ["README.md"]

highlight_language = "text"

# Notebooks are shown with their stored outputs; what is a widget there is the explorer here.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict] = {}
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

# Everything is in the folder: no page asks the network.
mathjax_path = "mathjax-tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_context = {"default_mode": "auto"}
html_favicon = "_static/favicon.svg"
html_css_files = ["explorer.css", "site.css"]
html_js_files = [("explorer.js", {"defer": "defer"}), ("site.js", {"defer": "defer"})]
html_theme_options = {
    "navbar_persistent": [],
    "back_to_top_button": False,  # it covers what one reads
    "max_navbar_depth": 1,
    "toc_title": "On this page",
    "search_bar_text": "Search the course",
    "use_download_button": False,
    "use_fullscreen_button": False,
    "footer_content_items": [],
}
html_copy_source = False
html_use_index = False
html_show_search_summary = False  # it would fetch pages, which a browser forbids on file://
