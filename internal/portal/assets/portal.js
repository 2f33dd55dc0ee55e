// The portal works without this file. It shows times in the viewer's zone, copies
// values of keys, and has parts of a page read again when something has changed.
(() => {
  'use strict';
  const lang = document.documentElement.lang || undefined;
  const format = new Intl.DateTimeFormat(lang, {dateStyle: 'medium', timeStyle: 'short'});
  const say = (text) => {
    const region = document.getElementById('said');
    if (region && text) { region.textContent = ''; region.textContent = text; }
  };
  const times = (root) => {
    for (const t of root.querySelectorAll('time[datetime]')) {
      const at = new Date(t.dateTime);
      if (!isNaN(at)) { t.title = t.dateTime; t.textContent = format.format(at); }
    }
  };
  // Times are filled in as the viewer's clock has them. How far that is from UTC depends
  // on the day, so it is told with each; without this script all of it is UTC.
  const offset = (f) => {
    const of = f.dataset.zone && document.getElementById(f.dataset.zone);
    const at = of && of.value ? new Date(of.value) : new Date();
    return (isNaN(at) ? new Date() : at).getTimezoneOffset();
  };
  const offsets = (root) => {
    for (const f of root.querySelectorAll('input[data-zone]')) f.value = offset(f);
  };
  const zone = (root) => {
    for (const f of root.querySelectorAll('input[data-utc]')) {
      const at = new Date(f.dataset.utc + 'Z');
      if (isNaN(at)) continue;
      f.value = new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
      delete f.dataset.utc;
    }
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
    for (const h of root.querySelectorAll('[data-local]')) h.textContent = h.dataset.local + (name ? ' (' + name + ')' : '');
    offsets(root);
  };
  document.addEventListener('input', (e) => { if (e.target.form) offsets(e.target.form); });
  document.addEventListener('submit', (e) => offsets(e.target), true);
  const ready = (root) => { times(root); zone(root); };

  document.addEventListener('click', async (e) => {
    const b = e.target.closest && e.target.closest('button[data-copy]');
    if (!b) return;
    e.preventDefault();
    const from = document.getElementById(b.dataset.copy);
    try {
      await navigator.clipboard.writeText(from.dataset.value || from.textContent.trim());
      say(b.dataset.copied);
    } catch {
      say(b.dataset.failed);
    }
  });

  // What has the focus keeps it when the part of the page around it is read again,
  // and what was opened stays open.
  const here = (el) => {
    if (el.id) return '#' + CSS.escape(el.id);
    const at = el.getAttribute('href') ? ['href', el] : el.form && el.form.getAttribute('action') ? ['action', el.form] : null;
    if (!at) return '';
    const found = at[1].tagName.toLowerCase() + '[' + at[0] + '="' + CSS.escape(at[1].getAttribute(at[0])) + '"]';
    return at[1] === el ? found : found + ' ' + el.tagName.toLowerCase() + (el.name ? '[name="' + CSS.escape(el.name) + '"]' : '');
  };
  let kept = '', open = [];
  document.addEventListener('htmx:beforeSwap', (e) => {
    const part = e.detail.target, at = document.activeElement;
    kept = part && at && at !== document.body && part.contains(at) ? here(at) : '';
    open = part ? [...part.querySelectorAll('details')].map((d) => d.open) : [];
  });
  document.addEventListener('htmx:afterSwap', (e) => {
    const part = e.detail.elt || document;
    ready(part);
    const now = part.querySelectorAll ? part.querySelectorAll('details') : [];
    if (now.length === open.length) now.forEach((d, i) => { d.open = open[i]; });
    if (!kept || document.activeElement && document.activeElement !== document.body) return;
    const again = document.querySelector(kept);
    if (again) again.focus({preventScroll: true});
  });
  const lost = (e) => {
    const status = e.detail.xhr ? e.detail.xhr.status : 0;
    if (status === 401) { location.reload(); return; }
    const words = status >= 400 && (e.detail.xhr.getResponseHeader('Content-Type') || '').startsWith('text/plain');
    say(words ? e.detail.xhr.responseText : document.body.dataset.lost);
  };
  document.addEventListener('htmx:responseError', lost);
  document.addEventListener('htmx:sendError', lost);

  const live = document.body.dataset.live;
  let away = false, source;
  const again = () => window.htmx && window.htmx.trigger(document.body, 'live');
  const follow = () => {
    source = new EventSource(live);
    source.addEventListener('change', again);
    source.addEventListener('open', () => {
      if (away) { away = false; say(document.body.dataset.back); again(); }
    });
    source.addEventListener('error', () => {
      if (!away) { away = true; say(document.body.dataset.lost); }
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again
      again(); // there was an answer: if the session is over, reading the page again tells
      setTimeout(follow, 30000);
    });
  };
  if (live && window.EventSource) {
    follow();
    window.addEventListener('pagehide', () => source.close());
  }
  ready(document);
})();
