"""HTTP without the domain: problems, parameters, formats, headers, files, the server."""
