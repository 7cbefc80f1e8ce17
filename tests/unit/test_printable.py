"""What is taken out of texts before they are shown."""

from __future__ import annotations

import pytest

from brulee.printable import without_passwords


@pytest.mark.parametrize("secret", ["s3cret", "s3/cret", "s3@cret", "s3:cret", "s3?c#ret", "s3%40"])
def test_no_part_of_a_password_is_left_in_a_url(secret: str) -> None:
    given = f"postgresql://me:{secret}@host/db, file:///a@b and http://host:80/x"
    assert without_passwords(given) == given.replace(secret, "***")


@pytest.mark.parametrize("key", ["password", "passwd"])
def test_nor_of_one_among_the_parameters_of_a_url(key: str) -> None:
    given = f"postgresql://host/db?user=me&{key}=s3cret&sslmode=require"
    assert without_passwords(given) == given.replace("s3cret", "***")


def test_a_port_is_no_password_where_one_with_a_slash_cannot_be() -> None:
    for given in ("http://host:80/a@b", "https://host:8080/a/b?c=d@e"):
        assert without_passwords(given) == given
    assert without_passwords("https://me:80@host:80/a@b").startswith("https://me:***@")
    assert without_passwords("mysql://me:80/1@host/a") == "mysql://me:***@host/a"


def test_urls_with_commas_between_them_hide_their_own_passwords() -> None:
    given = "https://h/x,https://me:s3,c@ret@h/y,https://h:80/z,s3://tok@h,x://h?password=a,b,y://h"
    hidden = "https://h/x,https://me:***@h/y,https://h:80/z,s3://***@h,x://h?password=***,y://h"
    assert without_passwords(given) == hidden
