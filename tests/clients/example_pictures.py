"""Pictures of the example pages, for the documents: example_pictures.py FOLDER.

Each page shows something that was published a moment before. SERVER_BIN names the server; the development build is
taken otherwise. The pictures are made smaller by pngquant, a Debian package.
"""

import json
import os
import subprocess
import sys
import time

import driver
import examples
import scenarios

WIDTH, HEIGHT = 420, 250


def chat(app):
    """Two people talk."""
    app.open("chat.html")
    for name, text in (("Ann", "Is the release out?"), ("Bob", "Since noon."), ("Ann", "Then cake!")):
        app.submit(name=name, text=text)
        app.browser.wait("line", "return document.querySelector('li:last-child')?.textContent.includes(arguments[0])",
                         text)


def notifications(app):
    """Some for one user, one for all."""
    app.open("notifications.html", user="ann")
    app.browser.wait("stream", "return document.readyState === 'complete'")
    for user, text in (("ann", "Your order was sent"), ("everyone", "New prices on Monday"), ("ann", "It has arrived")):
        app.submit(user=user, text=text)
        app.browser.wait("note", "return document.querySelector('li')?.textContent.includes(arguments[0])", text)


def upload(app):
    """In the middle of its work."""
    app.open("upload.html", job="7")
    app.submit(size=300_000)
    app.browser.wait("progress", "return /processed: [4-9]/.test(document.querySelector('#note').textContent)")


def answer(app):
    """Half of it is written."""
    app.open("answer.html")
    app.submit(question="Why events?")
    app.browser.wait("words", "return document.querySelector('#answer').textContent.length > 60")


def board(app):
    """Most services are well."""
    for service, state in (("database", "up"), ("mail", "slow"), ("payments", "up"), ("search", "down")):
        app.server.publish("board", json.dumps({"service": service, "state": state}))
    app.open("board.html")
    app.browser.wait("rows", "return document.querySelectorAll('tr').length >= 4")


def ticker(app):
    """Three shares."""
    for share, price in (("ABC", 12.48), ("KLM", 80.1), ("XYZ", 238.95)):
        app.server.publish("prices", json.dumps({"share": share, "price": price}))
    app.open("ticker.html")
    app.browser.wait("rows", "return document.querySelectorAll('tr').length >= 3")


def take(browser, make, path):
    """One picture, with a server of its own."""
    client = type("Page", (), {"browser": browser})
    world = scenarios.World(client, "pictures")
    try:
        app = examples.Application(world)
        make(app)
        # What has just changed may still be moving.
        time.sleep(0.2)
        browser.picture(path)
    finally:
        world.close()
    subprocess.run(["pngquant", "--force", "--strip", "--speed", "1", "--output", path, "32", path], check=True)


def main():
    """All of them."""
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    browser = driver.Driver()
    try:
        browser.screen(WIDTH, HEIGHT)
        for make in (chat, notifications, upload, answer, board, ticker):
            take(browser, make, os.path.join(folder, f"example-{make.__name__}.png"))
    finally:
        browser.close()


main()
