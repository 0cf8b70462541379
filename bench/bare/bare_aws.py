"""The first call of `packer:clean` and `group:status`, and that of `autoscale:run`, by boto3 alone."""

import boto3


def images():
    boto3.client("ec2", region_name="us-east-1").describe_images(Owners=["self"], IncludeDisabled=True)


def groups():
    boto3.client("autoscaling", region_name="us-east-1").describe_auto_scaling_groups(Filters=[])
