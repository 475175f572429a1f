"""What a search leaves behind: search.json, front and family, pictures, the report page."""
