"""`brulee bench train`: steps timed against the machine, and nothing left behind."""

from pathlib import Path

from brulee.pipeline import tuning
from brulee.training import bench

RECIPE = """
model: {folder}
data: {{source: bundled/support-chats, templates: dialogue-summary, split: {{test: 0.5}}}}
train: {{batch_size: 2, precision: float32, max_length: 512}}
"""


def test_a_recipe_is_timed_and_thrown_away(
    brulee, tiny_model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("chats.yaml").write_text(RECIPE.format(folder=tiny_model_folder))
    found = brulee("bench", "train", "chats.yaml", "--steps", 3, "--json", "--quiet").json
    assert len(found["seconds"]) == len(found["losses"]) == len(found["tokens"]) == 3
    assert min(found["grad_norms"]) > 0
    assert all(
        0 < learned < tokens
        for learned, tokens in zip(found["learned"], found["tokens"], strict=True)
    )
    speed = sum(found["tokens"][1:]) / sum(found["seconds"][1:])
    assert abs(found["tokens_per_second"] - speed) < 0.1
    assert 0 < found["share_of_product_rate"]["float32"] < 1
    assert [path.name for path in tmp_path.iterdir()] == ["chats.yaml"]


def test_people_get_a_line_a_step_and_the_share_of_the_machines_products(
    brulee, tiny_model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "product_rate", lambda *_: 1e9)
    Path("chats.yaml").write_text(RECIPE.format(folder=tiny_model_folder))
    done = brulee("bench", "train", "chats.yaml", "--steps", 2, "--quiet")
    out = done.out
    assert not done.code, done.err
    assert "gradient norm" in out
    assert "of this machine's own bfloat16 products" in out


def test_what_needs_validation_rows_or_keeps_records_is_left_out(
    brulee, tiny_model_folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench, "product_rate", lambda *_: 1e9)
    recipe = RECIPE.format(folder=tiny_model_folder).replace("0.5}}", "0.5, validation: 0.2}}")
    wants = "train: {keep_best: true, patience: 3, generate_every: 1, trackers: [tensorboard], "
    opened: list[str] = []
    monkeypatch.setattr(tuning, "open_trackers", lambda names, *_: opened.extend(names) or ())
    Path("chats.yaml").write_text(recipe.replace("train: {", wants))
    done = brulee("bench", "train", "chats.yaml", "--steps", 1, "--quiet")
    assert not done.code, done.err
    assert not opened, "a run that is thrown away was sent to a tracker"
