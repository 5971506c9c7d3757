"""A real browser loads a page with everything that belongs to one: styles, scripts, modules, images,
a compressed file, fetches, a film that it winds. What it found it says in its last request."""
import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import urllib.parse
import zlib

from cmd_support import *

BROWSER = os.environ["WEIR_BROWSER"]
IMAGES, SCRIPTS, STYLES = 30, 12, 8
FILM_S = 60

PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>weir</title>
%(styles)s
</head><body>
<p id="p">text</p>
%(images)s
%(scripts)s
<script type="module" src="module.js"></script>
<script>
'use strict';
const found = {errors: [], scripts: 0};
window.addEventListener('error', e => found.errors.push(e.message || e.target.src || e.target.href), true);
window.loaded = n => { found.scripts += n; };
const event = (target, name) => new Promise((done, failed) => {
    target.addEventListener(name, done, {once: true});
    target.addEventListener('error', () => failed(name + ' of ' + target.src), {once: true});
});
async function look() {
    found.images = [...document.images].filter(i => i.complete && i.naturalWidth == 16).length;
    const style = getComputedStyle(document.getElementById('p'));
    found.styles = 0;
    for (let i = 0; i < %(style_count)d; i++)
        found.styles += style.getPropertyValue('--style-' + i) == i + 1;
    found.module = window.module_value;
    found.compressed = (await (await fetch('long.txt')).text()).length;
    found.json = (await (await fetch('data.json')).json()).value;
    const part = await fetch('film.wav', {headers: {Range: 'bytes=8-11'}});
    found.part = [part.status, await part.text()];
    const head = await fetch('film.wav', {method: 'HEAD'});
    found.head = Number(head.headers.get('Content-Length'));
    const missing = await fetch('there-is-none');
    found.missing = missing.status;
    const post = await fetch('data.json', {method: 'POST', body: 'x'.repeat(100000)});
    found.post = post.status;
    const ended = await Promise.all([...Array(40).keys()].map(i =>
        fetch('image-' + i %% %(image_count)d + '.png?again=' + i).then(r => r.arrayBuffer())));
    found.fetched = ended.filter(b => b.byteLength > 50).length;
    const film = document.createElement('video');
    film.preload = 'auto';
    film.muted = true;
    film.src = 'film.wav';
    await event(film, 'loadedmetadata');
    found.film_s = Math.round(film.duration);
    film.currentTime = film.duration - 2;
    await event(film, 'seeked');
    await film.play();
    await event(film, 'ended');
    found.film_ended = film.ended;
}
window.addEventListener('load', async () => {
    try {
        await look();
    } catch (error) {
        found.errors.push(String(error));
    }
    const again = sessionStorage.getItem('again');
    await fetch('done?' + encodeURIComponent(JSON.stringify(found)));
    if (!again) {
        sessionStorage.setItem('again', 'yes');
        location.reload();
    }
});
</script>
</body></html>
"""


def png(size, color):
    """A square of one color."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(color) * size) * size
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def wav(seconds):
    rate = 44100
    data = bytes(range(256)) * (rate * 2 * seconds // 256 + 1)
    data = data[:rate * 2 * seconds]
    return (b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " +
            struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16) + b"data" +
            struct.pack("<I", len(data)) + data)


def write(path, name, data):
    with open(os.path.join(path, name), "wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
    os.utime(os.path.join(path, name), (1577836800, 1577836800))


def www():
    path = folder("browser")
    text = "A line that is there many times.\n" * 10000
    for i in range(STYLES):
        write(path, f"style-{i}.css", f"#p {{ --style-{i}: {i + 1}; }}\n" + "/* long */\n" * (i * 500))
    for i in range(SCRIPTS):
        write(path, f"script-{i}.js", "window.loaded(1);\n" + "// long\n" * (i * 3000))
    for i in range(IMAGES):
        write(path, f"image-{i}.png", png(16, (i * 8, 255 - i * 8, 128)))
    write(path, "module.js", "import { value } from './other.mjs';\nwindow.module_value = value;\n")
    write(path, "other.mjs", "export const value = 'imported';\n")
    write(path, "data.json", json.dumps({"value": "ä"}))
    write(path, "long.txt", text)
    write(path, "long.txt.gz", gzip.compress(text.encode()))
    write(path, "film.wav", wav(FILM_S))
    write(path, "index.html", PAGE % {
        "styles": "\n".join(f'<link rel="stylesheet" href="style-{i}.css">' for i in range(STYLES)),
        "images": "\n".join(f'<img src="image-{i}.png">' for i in range(IMAGES)),
        "scripts": "\n".join(f'<script defer src="script-{i}.js"></script>' for i in range(SCRIPTS)),
        "style_count": STYLES, "image_count": IMAGES})
    return path, len(text)


class Browser:
    """Without a window, and without any way out of this host."""

    def __init__(self, url):
        self.home = os.path.join(SCRATCH, "browser-home")
        self.errors = open(os.path.join(SCRATCH, "browser-errors"), "w+b")
        self.process = subprocess.Popen(
            [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--no-first-run", "--no-proxy-server", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-extensions",
             "--autoplay-policy=no-user-gesture-required", "--mute-audio",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
             f"--user-data-dir={self.home}", url],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors,
            env={**os.environ, "HOME": SCRATCH})

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        shutil.rmtree(self.home, ignore_errors=True)


def lines_of(log):
    with open(log, encoding="utf-8") as file:
        return [json.loads(line) for line in file.read().splitlines()]


@test
def a_page_with_everything():
    path, text_size = www()
    log = os.path.join(SCRATCH, "browser.log")
    server = Server("--access-log", log, "--access-format", "json", "--header",
                    "Cache-Control: no-cache", path)
    browser = Browser(f"http://127.0.0.1:{server.port}/")
    try:
        def reports():
            return [line for line in lines_of(log) if line["target"].startswith("/done?")]
        wait_until(lambda: len(reports()) == 2, 60, "the browser's second report")
        requests = lines_of(log)
        stats = server.ctl("stats")["sum"]
    finally:
        browser.stop()
    server.stop()
    for report in reports():
        found = json.loads(urllib.parse.unquote(report["target"].split("?", 1)[1]))
        assert found == {
            "errors": [], "scripts": SCRIPTS, "images": IMAGES, "styles": STYLES, "module": "imported",
            "compressed": text_size, "json": "ä", "part": [206, "WAVE"],
            "head": os.path.getsize(os.path.join(path, "film.wav")), "missing": 404, "post": 405,
            "fetched": 40, "film_s": FILM_S, "film_ended": True}, found
    # What belongs to the page was asked for in both loads; the second time it had not changed.
    assert stats["http_requests"] >= 2 * (IMAGES + SCRIPTS + STYLES + 50), stats["http_requests"]
    assert stats["accepted"] <= 16, f"{stats['accepted']} connections for {stats['http_requests']}"
    statuses = [line["status"] for line in requests]
    assert statuses.count(304) >= IMAGES + SCRIPTS + STYLES, statuses.count(304)
    assert statuses.count(206) >= 2, statuses.count(206)
    assert set(statuses) <= {200, 206, 304, 404, 405}, sorted(set(statuses))
    sizes = [line["body_bytes"] for line in requests if line["target"] == "/long.txt" and line["status"] == 200]
    assert sizes and max(sizes) < text_size / 10, f"not compressed: {sizes}"


main()
