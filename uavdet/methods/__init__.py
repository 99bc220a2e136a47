"""What trains: everything that exists only while training, one folder a paper."""
