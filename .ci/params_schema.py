"""Write params.schema.json, by which editors complete and check params.yaml."""

from pathlib import Path

from ratchet import settings

FILE = Path(__file__).parents[1] / "params.schema.json"

if __name__ == "__main__":
    FILE.write_text(settings.json_schema(), encoding="utf-8")
