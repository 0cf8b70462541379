"""Nothing of the user's credentials or proxies reaches a program that works against the sandbox."""

from nodepkg.sandbox.environment import child_environment

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "production",
    "AWS_ENDPOINT_URL_EC2": "https://ec2.us-east-1.amazonaws.com",
    "aws_secret_access_key": "real",
    "AWS_REGION": "us-west-2",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.2/real",
    "VAULT_TOKEN": "real",
    "CONSUL_HTTP_TOKEN": "real",
    "HCP_CLIENT_SECRET": "real",
    "HTTPS_PROXY": "http://real",
    "http_proxy": "http://real",
    "all_proxy": "http://real",
}


def test_nothing_real_is_left() -> None:
    environment = child_environment({**SECRETS, "PATH": "/bin", "HOME": "/home/me"}, "http://127.0.0.1:1")
    assert environment == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_POLL_DELAY_SECONDS": "1",
        "CHECKPOINT_DISABLE": "1",
    }
