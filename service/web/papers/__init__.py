"""Pages for everybody: days, weeks, papers, people, search, previews; feeds and the sitemap."""
