"""Entities as a control plane sends them: every field is there."""


def ident(number):
    return f"00000000-0000-4000-8000-{number:012d}"


TIMES = {"created_at": 1700000000, "updated_at": 1700000000}


def service(number, port, **fields):
    return {
        "id": ident(number), "name": f"service{number}", "retries": 5, "protocol": "http",
        "host": "127.0.0.1", "port": port, "path": None, "connect_timeout": 60000,
        "write_timeout": 60000, "read_timeout": 60000, "tags": None, "client_certificate": None,
        "tls_verify": None, "tls_verify_depth": None, "ca_certificates": None, "enabled": True,
        **TIMES, **fields}


def route(number, name, paths, service_number, **fields):
    return {
        "id": ident(number), "name": name, "protocols": ["http", "https"], "methods": None,
        "hosts": None, "paths": paths, "headers": None, "snis": None, "sources": None,
        "destinations": None, "https_redirect_status_code": 426, "regex_priority": 0,
        "strip_path": True, "path_handling": "v0", "preserve_host": False,
        "request_buffering": True, "response_buffering": True, "tags": None,
        "service": {"id": ident(service_number)}, **TIMES, **fields}


def plugin(number, name, config, **fields):
    return {
        "id": ident(number), "name": name, "instance_name": None, "route": None, "service": None,
        "consumer": None, "config": config, "protocols": ["grpc", "grpcs", "http", "https"],
        "enabled": True, "tags": None, **TIMES, **fields}


def consumer(number, name):
    return {"id": ident(number), "username": name, "custom_id": None, "tags": None, **TIMES}


def key(number, value, consumer_number):
    return {"id": ident(number), "key": value, "consumer": {"id": ident(consumer_number)},
            "tags": None, "ttl": None, "created_at": 1700000000}
