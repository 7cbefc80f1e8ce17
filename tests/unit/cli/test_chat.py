import json


def said(session) -> list[list[tuple[str, str]]]:
    return [[(m["role"], m["content"]) for m in asked["messages"]] for asked in session.asked]


def test_pipe_gives_one_answer_per_line_and_remembers(brulee, session) -> None:
    done = brulee("chat", "bundled", stdin="hello there\n\nbye\n")
    assert (done.code, done.out) == (0, "hello there \nbye \n")
    assert said(session)[1] == [
        ("user", "hello there"),
        ("assistant", "hello there "),
        ("user", "bye"),
    ]


def test_reset_forgets_the_turns_but_not_the_system_message(brulee, session) -> None:
    brulee("chat", "bundled", stdin="/system be kind\na\n/reset\nb\n")
    assert said(session) == [
        [("system", "be kind"), ("user", "a")],
        [("system", "be kind"), ("user", "b")],
    ]


def test_system_without_text_takes_it_back(brulee, session) -> None:
    brulee("chat", "bundled", stdin="/system be kind\n/system\na\n")
    assert said(session) == [[("user", "a")]]


def test_exit_leaves_before_the_rest_is_read(brulee, session) -> None:
    assert brulee("chat", "bundled", stdin="/exit\nhello\n").code == 0
    assert session.asked == []


def test_unknown_slash_command_is_not_sent_to_the_model(brulee, session) -> None:
    done = brulee("chat", "bundled", stdin="/rest\n")
    assert "unknown command /rest" in done.err
    assert session.asked == []


def test_interrupted_answer_stays_in_the_conversation(brulee, session) -> None:
    session.interrupt_after = 1
    done = brulee("chat", "bundled", stdin="one two\nnext\n")
    assert done.code == 0
    assert "(stopped)" in done.err
    assert said(session)[1][1] == ("assistant", "one ")


def test_a_line_that_is_too_long_ends_no_conversation_of_a_person(
    brulee, session, monkeypatch
) -> None:
    session.longest = 5
    done = brulee("chat", "bundled", stdin="one\nfar too long\ntwo\n")
    assert (done.code, len(session.asked)) == (2, 2)
    assert "this model reads at most 8" in done.err

    session.asked.clear()
    lines = iter(["one", "far too long", "two", "/exit"])
    monkeypatch.setattr("brulee.cli.chat._is_terminal", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    done = brulee("chat", "bundled")
    assert done.code == 0
    assert "this model reads at most 8. /system TEXT" in done.err
    said = [message["content"] for message in session.asked[-1]["messages"]]
    assert said == ["one", "one ", "two"]


def test_json_gives_one_line_per_answer(brulee, session) -> None:
    done = brulee("chat", "bundled", "--json", stdin="a b\nc\n")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert answers == [
        {"role": "assistant", "content": "a b "},
        {"role": "assistant", "content": "c "},
    ]


def test_sampling_options_reach_the_session(brulee, session) -> None:
    brulee("chat", "bundled", "--temperature", 0.7, "--seed", 5, stdin="a\n")
    assert (session.asked[0]["temperature"], session.asked[0]["seed"]) == (0.7, 5)
