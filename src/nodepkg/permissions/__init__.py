"""What each command has to be allowed in AWS, as the least IAM policy. Pure: it asks nobody."""
