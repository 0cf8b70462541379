"""What a health_url may be: the template of a URL, in which fields stand for a node's own."""

import re

NODE_FIELDS = ("private_ip", "public_ip", "instance_id", "zone", "name")
_NODE_FIELD = rf"\{{(?:{'|'.join(NODE_FIELDS)})\}}"
HEALTH_URL = re.compile(
    rf"https?://(?:[A-Za-z0-9._-]|{_NODE_FIELD})+(?::[0-9]{{1,5}})?(?:[/?](?:[!\"$-z|~]|{_NODE_FIELD})*)?"
)


def checked_health_url(template: str) -> str:
    """The same template; raises ValueError that says what is wrong with it."""
    if not template.startswith(("http://", "https://")):
        raise ValueError("has to begin with http:// or https://")
    if re.search(r"[{}]", re.sub(_NODE_FIELD, "", template)):
        allowed = " ".join(f"{{{name}}}" for name in NODE_FIELDS)
        raise ValueError(f"in braces it may have {allowed}, as they stand here, and nothing else")
    if not HEALTH_URL.fullmatch(template):
        raise ValueError("is no URL such as http://{private_ip}:8080/health (a host, maybe a port, a path or a query)")
    return template
