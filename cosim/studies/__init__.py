"""Studies: measurements over whole runs and blocks, each one public function with a report."""
