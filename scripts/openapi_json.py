#!/usr/bin/env python3
"""openapi_json.py YAML JSON: the description of the API as JSON, which travels in the binary. The build runs it.

The YAML is read by the core schema of YAML 1.2, as the tools of OpenAPI do: a date is a text, and "on" is no boolean."""
import json
import re
import sys

import yaml


class Reader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}


for tag, pattern, first in [("null", r"~|null|", ["~", "n", ""]), ("bool", r"true|false", "tf"),
                            ("int", r"[-+]?[0-9]+", "-+0123456789"),
                            ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789")]:
    Reader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))


def decimal_integer(_, node):
    return int(node.value)


Reader.add_constructor("tag:yaml.org,2002:int", decimal_integer)
Reader.add_constructor("tag:yaml.org,2002:float", lambda _, node: float(node.value))


def read(path):
    with open(path, encoding="utf-8") as source:
        return yaml.load(source, Reader)


if __name__ == "__main__":
    text = json.dumps(read(sys.argv[1]), ensure_ascii=False, separators=(",", ":"))
    with open(sys.argv[2], "w", encoding="utf-8") as target:
        target.write(text + "\n")
