PYTHONPATH=/tmp/w15/src /work/shared/cases/run /work/main/.venv/bin/python
