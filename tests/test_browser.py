"""The page in a real browser: Chromium with a film for a camera, and a server beside it.

Pictures are checked by their pixels. Screenshots of every state are in out/screenshots afterwards.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

import gemino.media
from browser import (
    DESK,
    PATIENCE_MS,
    PHONE,
    SENSES,
    SIZE_PX,
    UNABLE,
    Server,
    check_barriers,
    fingerprint,
    headers_are_counted,
    needs_chromium,
    open_browser,
    pictures_flow,
    save,
    serving,
    start,
    until,
    visiting,
    wait_for_number,
    webcam,
    write_film,
)

pytestmark = [needs_chromium, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "webcam.y4m"
    write_film(path, webcam(SIZE_PX))
    return path


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def browser(playwright: Playwright, film: Path) -> Iterator[Browser]:
    opened = open_browser(playwright, film)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running
        assert not any("Traceback" in line for line in running.said), "".join(running.said)


def test_a_face_comes_back_neurally_rebuilt(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, errors):
        page.goto(server.url)
        page.wait_for_selector("body[data-camera]")
        save(page, "lobby")
        check_barriers(page)
        start(page, server.url)
        until(page, "text('badge').startsWith('Neural')")
        wait_for_number(page, "n-fps", "n > 1")
        wait_for_number(page, "n-delay", "n > 0")
        # The same scene as the camera's, at the size that was asked for.
        assert page.evaluate("document.getElementById('picture').width") == SIZE_PX
        shown, sent = (np.array(fingerprint(page, one)) for one in ("picture", "self"))
        assert np.abs(shown - sent).mean() < 30
        assert shown.std() > 20
        headers_are_counted(page)
        thumbnail = np.array(fingerprint(page, "thumbnail"))
        assert np.abs(thumbnail - sent).mean() < 30
        save(page, "live")
        check_barriers(page)
        assert errors == []


def test_a_camera_arrives_as_large_as_is_asked_for(playwright: Playwright, tmp_path: Path) -> None:
    film = tmp_path / "large.y4m"
    write_film(film, webcam(1024, pictures=20))
    browser = open_browser(playwright, film)
    try:
        with serving(size_px=1024, model="none") as running, visiting(browser) as (page, errors):
            start(page, running.url)
            until(page, r"/camera 1024 . 1024 px/.test(text('machine'))")
            assert page.evaluate("document.getElementById('picture').width") == 1024
            assert errors == []
    finally:
        browser.close()


def test_the_slider_changes_the_rate(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, errors):
        start(page, server.url)
        page.focus("#rate")
        page.keyboard.press("End")
        assert page.inner_text("#rate-value") == "400 kbps"
        until(page, "text('lr').includes('256')")
        wait_for_number(page, "n-payload", "n > 45")
        page.keyboard.press("Home")
        assert page.inner_text("#rate-value") == "6 kbps"
        until(page, "!text('lr').includes('256')")
        wait_for_number(page, "n-payload", "n < 30")
        pictures_flow(page)
        assert errors == []


def test_the_divider_lies_between_plain_vp8_and_gemino(browser: Browser, server: Server) -> None:
    with visiting(browser, scheme="light") as (page, errors):
        start(page, server.url)
        page.keyboard.press("s")
        divider = page.wait_for_selector("#divider")
        assert divider is not None
        until(page, "text('plain-label').match(/[1-9]/)")
        assert "Plain VP8" in page.inner_text("#plain-label")
        box = page.locator("#stage").bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] / 2, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 4, middle, steps=3)
        page.mouse.up()
        assert divider.get_attribute("aria-valuenow") == "25"
        divider.press("ArrowRight")
        assert divider.get_attribute("aria-valuenow") == "27"
        # One picture of the scene, not two side by side.
        pictures_flow(page)
        shown, sent = (np.array(fingerprint(page, one)) for one in ("picture", "self"))
        assert np.abs(shown - sent).mean() < 30
        save(page, "split")
        check_barriers(page)
        page.keyboard.press("s")
        page.wait_for_selector("#divider", state="hidden")
        pictures_flow(page)
        assert errors == []


def test_colours_say_where_detail_comes_from(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, errors):
        start(page, server.url)
        until(page, "text('badge').startsWith('Neural')")
        page.keyboard.press("o")
        page.wait_for_selector("#legend:visible")
        carried, drawn = (int(page.inner_text(f"#n-{one}")[:-1]) for one in ("carried", "drawn"))
        assert carried > 5
        assert drawn > 5
        assert 99 <= carried + drawn <= 101
        pictures_flow(page)
        shown, sent = (np.array(fingerprint(page, one)) for one in ("picture", "self"))
        # The scene in grey, with the two colours over it: neither is a skin's.
        assert np.corrcoef(shown, sent)[0, 1] > 0.5
        assert np.abs(shown - sent).mean() > 10
        save(page, "origins")
        check_barriers(page)
        page.keyboard.press("o")
        page.wait_for_selector("#legend", state="hidden")
        pictures_flow(page)
        assert errors == []


def test_mute_and_camera_off_are_heard_and_seen(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, errors):
        start(page, server.url)
        page.check("#hear")
        until(page, "document.getElementById('remote').srcObject.getAudioTracks().length")
        page.evaluate(SENSES)
        until(page, "window.loudness() > 0.01")
        page.click("#mute")
        assert page.get_attribute("#mute", "aria-pressed") == "true"
        until(page, "window.silence()")
        page.click("#hide")
        until(page, "window.brightness() < 20")
        page.click("#hide")
        until(page, "window.brightness() > 40")
        assert errors == []


def test_who_is_muted_stays_so_when_the_camera_comes_back(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, errors):
        start(page, server.url)
        page.click("#mute")
        page.click("#hide")
        page.evaluate("window.before = document.getElementById('self').srcObject")
        page.evaluate("before.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
        page.click("#again")
        until(page, "document.getElementById('self').srcObject !== before")
        live = "document.getElementById('self').srcObject.getTracks().map((one) => one.enabled)"
        assert page.evaluate(live) == [False, False]
        page.click("#mute")
        page.click("#hide")
        assert page.evaluate(live) == [True, True]
        assert errors == []


def test_reload_and_rejoin(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, errors):
        start(page, server.url)
        page.reload()
        start(page, server.url)
        page.click("#leave")
        page.wait_for_selector("body[data-state=lobby]")
        page.click("#allow")
        page.wait_for_selector("body[data-camera]")
        page.click("#start")
        page.wait_for_selector("body[data-state=live]")
        pictures_flow(page)
        assert errors == []


def test_screenshot_and_recording(browser: Browser, server: Server, tmp_path: Path) -> None:
    with visiting(browser) as (page, errors):
        start(page, server.url)
        with page.expect_download() as shot:
            page.click("#shot")
        shot.value.save_as(tmp_path / "shot.png")
        (picture,) = gemino.media.read_frames(tmp_path / "shot.png")
        assert picture.frame.shape == (SIZE_PX, SIZE_PX, 3)
        page.click("#record")
        until(page, "text('recording').match(/0:0[1-9]/)")
        save(page, "recording")
        with page.expect_download() as film:
            page.click("#record")
        film.value.save_as(tmp_path / "film.webm")
        first = next(iter(gemino.media.read_frames(tmp_path / "film.webm")))
        assert first.frame.shape == (SIZE_PX, SIZE_PX, 3)
        assert errors == []


def test_a_phone_shows_all_of_it(browser: Browser, server: Server) -> None:
    with visiting(browser, PHONE) as (page, errors):
        page.goto(server.url)
        page.wait_for_selector("body[data-camera]")
        save(page, "phone-lobby")
        start(page, server.url)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        for name in ("mute", "hide", "split", "origins", "shot", "record", "leave"):
            box = page.locator(f"#{name}").bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE[0]
            assert min(box["width"], box["height"]) >= 44
        wait_for_number(page, "n-fps", "n > 1")
        save(page, "phone-live")
        check_barriers(page)
        assert errors == []


def test_a_camera_that_is_denied_is_said_in_words(
    playwright: Playwright, film: Path, server: Server
) -> None:
    refusing = open_browser(playwright, film, allows=False)
    with visiting(refusing, permissions=()) as (page, _errors):
        page.goto(server.url)
        page.click("#allow")
        page.wait_for_selector("#trouble:visible")
        assert "not allowed" in page.inner_text("#trouble")
        assert page.is_disabled("#start")
        save(page, "denied")
        check_barriers(page)
    refusing.close()


def test_a_machine_without_a_camera_is_told(playwright: Playwright, server: Server) -> None:
    bare = open_browser(playwright, None)
    with visiting(bare) as (page, errors):
        page.goto(server.url)
        page.wait_for_selector("#trouble:visible")
        assert "No camera was found" in page.inner_text("#trouble")
        assert page.is_disabled("#start")
        save(page, "no-camera")
        assert errors == []
    bare.close()


@pytest.mark.parametrize(
    ("lacking", "said"),
    [*zip(UNABLE, ("https://", "no WebRTC"), strict=True)],
    ids=["no safe page", "no WebRTC"],
)
def test_a_page_that_cannot_call_says_why(
    browser: Browser, server: Server, lacking: str, said: str
) -> None:
    with visiting(browser) as (page, errors):
        page.add_init_script(lacking)
        page.goto(server.url)
        page.wait_for_selector("#trouble:visible")
        assert said in page.inner_text("#trouble")
        assert errors == []


def test_a_wrong_link_is_said_in_words(browser: Browser, server: Server) -> None:
    with visiting(browser) as (page, _errors):
        page.goto(f"http://127.0.0.1:{server.port}/#wrong")
        page.wait_for_selector("body[data-camera]")
        page.click("#start")
        page.wait_for_selector("#trouble:visible")
        assert "link is not valid" in page.inner_text("#trouble")
        save(page, "wrong-link")


def test_a_killed_server_is_noticed_and_a_new_one_joined(browser: Browser) -> None:
    with visiting(browser, DESK) as (page, _errors):
        with serving(model="none") as server:
            start(page, server.url)
            server.process.send_signal(signal.SIGKILL)
            page.wait_for_selector("#trouble:visible")
            assert "does not answer" in page.inner_text("#trouble")
            save(page, "server-gone")
            check_barriers(page)
        with serving(server.port, model="none"):
            page.wait_for_selector("body[data-state=live]", timeout=PATIENCE_MS)
            page.wait_for_selector("#trouble", state="hidden")
            pictures_flow(page)


def test_a_stopped_server_says_goodbye(browser: Browser) -> None:
    with visiting(browser) as (page, _errors), serving(model="none") as server:
        start(page, server.url)
        server.process.send_signal(signal.SIGINT)
        page.wait_for_selector("#trouble:visible")
        assert "was stopped" in page.inner_text("#trouble")
        assert server.process.wait(PATIENCE_MS / 1000) == 0
