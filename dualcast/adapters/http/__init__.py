"""What all HTTP servers of the platform check before an application is called: sizes, hosts, times, load."""
