# Two commands for a fresh machine with git, make and python3; each does its own set-up.
.PHONY: demo test docs format clean

BIN := .venv/bin

demo:
	@scripts/setup.sh git:git packer:packer
	@scripts/demo.sh

test:
	@scripts/setup.sh git:git packer:packer sshd:openssh-server ssh:openssh-client unshare:util-linux zsh:zsh fish:fish \
		etcd:etcd-server faketime:faketime
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/pytest -q -n 4 --dist worksteal

# What is generated: pages of docs/ and nodes.schema.json from models and help, and the example's artefacts.
docs:
	@scripts/setup.sh
	$(BIN)/python docs/generate.py
	$(BIN)/package group:create

format:
	@scripts/setup.sh
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
