// Lines of a log are added as they come. Pages can be read without this file: the lines
// that were there are in the page, and reading it again shows what came since.
(() => {
  'use strict';
  const log = document.getElementById('log');
  const address = log && log.dataset.follow;
  const most = 1000, calm = 5;
  const format = new Intl.DateTimeFormat(document.documentElement.lang || undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23'});
  const clock = (root) => {
    for (const t of root.querySelectorAll('time[data-at]')) {
      const at = new Date(t.dataset.at);
      if (!isNaN(at)) { t.title = t.dataset.at; t.textContent = format.format(at); }
    }
  };
  if (log) { clock(log); log.scrollTop = log.scrollHeight; }
  if (!address || !window.EventSource) return;

  const pattern = document.getElementById('log-line');
  const state = document.getElementById('log-state');
  const pause = document.getElementById('log-pause');
  const empty = document.getElementById('log-empty');
  let source = null, last = '', fresh = 0, timer = 0;

  const tell = (text) => { if (state.textContent !== text) state.textContent = text; };
  const put = (line, selector, text) => {
    const e = line.querySelector(selector);
    if (text) e.textContent = text; else e.remove();
  };
  const element = (l) => {
    const line = pattern.content.firstElementChild.cloneNode(true);
    if (l.kind === 'warn' || l.kind === 'bad') line.classList.add(l.kind);
    if (l.at) line.querySelector('time').dataset.at = l.at;
    put(line, 'time', l.clock); put(line, 'b', l.level); put(line, '.of', l.of); put(line, '.said', l.text); put(line, 'small', l.run);
    return line;
  };
  // A screen reader reads a few lines as they come. Of many it is told now and then how
  // many there were.
  const rest = () => {
    timer = 0;
    if (fresh > calm) {
      tell(state.dataset.many.replace('#', fresh.toLocaleString()));
      timer = setTimeout(rest, 10000);
    } else {
      log.setAttribute('aria-live', 'polite');
      if (source) tell(state.dataset.follows);
    }
    fresh = 0;
  };
  const voice = (n) => {
    fresh += n;
    if (fresh > calm) log.setAttribute('aria-live', 'off');
    if (!timer) timer = setTimeout(rest, 10000);
  };
  const take = (e) => {
    last = e.lastEventId || last;
    const told = JSON.parse(e.data);
    const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const all = document.createDocumentFragment();
    if (told.gap) {
      const gap = document.createElement('div');
      gap.className = 'line gap';
      gap.textContent = told.gap;
      all.append(gap);
    }
    for (const l of told.lines || []) all.append(element(l));
    clock(all);
    voice(told.reset ? calm + 1 : (told.lines || []).length);
    if (told.reset) { log.replaceChildren(all); fresh = 0; } else log.append(all);
    while (log.childElementCount > most) log.firstElementChild.remove();
    if (low || told.reset) log.scrollTop = log.scrollHeight;
    empty.hidden = log.childElementCount > 0;
  };
  const open = () => {
    const url = new URL(address, location.href);
    if (last) url.searchParams.set('after', last);
    source = new EventSource(url);
    source.addEventListener('open', () => tell(state.dataset.follows));
    source.addEventListener('lines', take);
    source.addEventListener('end', (e) => { shut(); pause.hidden = true; tell(JSON.parse(e.data)); });
    source.addEventListener('error', () => { if (source) tell(state.dataset.lost); });
  };
  const shut = () => { if (source) { const s = source; source = null; s.close(); } };
  pause.hidden = false;
  pause.addEventListener('click', () => {
    if (source) { shut(); tell(state.dataset.paused); } else open();
    pause.setAttribute('aria-pressed', String(!source));
  });
  window.addEventListener('pagehide', shut);
  window.addEventListener('pageshow', (e) => { if (e.persisted && pause.getAttribute('aria-pressed') === 'false') open(); });
  open();
})();
