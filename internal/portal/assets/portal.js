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
  const zone = (root) => {
    for (const f of root.querySelectorAll('input[data-zone]')) f.value = new Date().getTimezoneOffset();
  };
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

  document.addEventListener('htmx:afterSwap', (e) => ready(e.detail.elt || document));
  const lost = (e) => {
    const status = e.detail.xhr ? e.detail.xhr.status : 0;
    if (status === 401) { location.reload(); return; }
    const words = status >= 400 && (e.detail.xhr.getResponseHeader('Content-Type') || '').startsWith('text/plain');
    say(words ? e.detail.xhr.responseText : document.body.dataset.lost);
  };
  document.addEventListener('htmx:responseError', lost);
  document.addEventListener('htmx:sendError', lost);

  const live = document.body.dataset.live;
  if (live && window.EventSource) {
    const source = new EventSource(live);
    let away = false;
    source.addEventListener('change', () => window.htmx && window.htmx.trigger(document.body, 'live'));
    source.addEventListener('open', () => {
      if (away) { away = false; say(document.body.dataset.back); window.htmx && window.htmx.trigger(document.body, 'live'); }
    });
    source.addEventListener('error', () => {
      if (!away) { away = true; say(document.body.dataset.lost); }
    });
    window.addEventListener('pagehide', () => source.close());
  }
  ready(document);
})();
