// Keeps a page up to date: when the tracker says that something has changed, the page is fetched again and the parts of it that
// differ are swapped. Without this module the page is whole, and stays as it was.
// @ts-check

const events = document.body.dataset.events;
const status = document.getElementById("live");

/** @type {EventSource | null} */
let stream = null;
let asking = false;
let again = false;

/** @param {string} text */
function say(text) {
  if (status && status.textContent !== text) {
    status.textContent = text;
    status.className = text.replace(/ .*/, "");
  }
}

/** Fetches this page as a document: no script of it runs, and no text becomes markup here. */
function fetchPage() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 15000;
    request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject(request.status));
    request.onerror = request.ontimeout = () => reject(0);
    request.send();
  });
}

/** @param {Element} part */
function inUse(part) {
  const chosen = getSelection();
  return chosen && !chosen.isCollapsed && chosen.anchorNode && part.contains(chosen.anchorNode);
}

/**
 * @param {Element} old
 * @param {Element} fresh
 */
function swap(old, fresh) {
  if (old.isEqualNode(fresh) || inUse(old)) {
    return;
  }
  for (const open of old.querySelectorAll("details[open][id]")) {
    fresh.querySelector("#" + CSS.escape(open.id))?.setAttribute("open", "");
  }
  const focus = old.contains(document.activeElement) ? document.activeElement?.getAttribute("href") : null;
  const log = old.querySelector("pre.log");
  const atEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
  const top = log?.scrollTop ?? 0;
  const node = document.adoptNode(fresh);
  old.replaceWith(node);
  const text = node.querySelector("pre.log");
  if (text) {
    text.scrollTop = atEnd ? text.scrollHeight : top;
  }
  if (focus) {
    /** @type {HTMLElement | null} */ (node.querySelector(`[href="${CSS.escape(focus)}"]`))?.focus({ preventScroll: true });
  }
}

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const fresh = await fetchPage();
    const now = [...document.querySelectorAll("[data-part]")].map((e) => e.getAttribute("data-part"));
    const then = [...fresh.querySelectorAll("[data-part]")].map((e) => e.getAttribute("data-part"));
    const main = document.getElementById("main");
    const freshMain = fresh.getElementById("main");
    if (now.join() !== then.join() && main && freshMain) {
      const footer = fresh.querySelector("footer");
      swap(main, freshMain);
      document.querySelector("footer")?.replaceWith(document.adoptNode(footer));
    } else {
      for (const name of now) {
        const old = document.querySelector(`[data-part="${name}"]`);
        const part = fresh.querySelector(`[data-part="${name}"]`);
        if (old && part) {
          swap(old, part);
        }
      }
    }
    say("live");
    if (!fresh.body.dataset.events) {
      say("over");
      close();
    }
  } catch (code) {
    if (code === 401) {
      location.reload();
    }
    say("away – trying again");
  } finally {
    asking = false;
    if (again) {
      again = false;
      setTimeout(refresh, 250);
    }
  }
}

function close() {
  stream?.close();
  stream = null;
}

function open() {
  if (!events || stream || document.hidden) {
    return;
  }
  stream = new EventSource(events);
  stream.onopen = () => say("live");
  stream.onerror = () => {
    say("away – trying again");
    if (stream?.readyState === EventSource.CLOSED) { // it was refused: too many pages listen
      close();
      setTimeout(() => { refresh(); open(); }, 10000);
    }
  };
  stream.addEventListener("changed", refresh);
}

// A browser has few connections to one host: a page that nobody sees needs none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
    say("paused");
  } else if (status?.className !== "over") {
    refresh();
    open();
  }
});

const log = document.querySelector("pre.log");
if (log) {
  log.scrollTop = log.scrollHeight;
}
open();
