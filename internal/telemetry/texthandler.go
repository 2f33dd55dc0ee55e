package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// textHandler writes records as short lines for people:
//
//	20:15:04 WARN  key store cannot be read app=shop reason="permission denied"
type textHandler struct {
	out    *lockedWriter
	level  slog.Leveler
	prefix string // of attribute names: the open groups, each followed by a dot
	fixed  []byte // attributes given by With, encoded
}

// lockedWriter is shared by all handlers that With made from one.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func newTextHandler(w io.Writer, level slog.Leveler) *textHandler {
	return &textHandler{out: &lockedWriter{w: w}, level: level}
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= h.level.Level()
}

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	line := make([]byte, 0, 256)
	if !r.Time.IsZero() {
		line = append(appendTimeOfDay(line, r.Time), ' ')
	}
	line = append(line, r.Level.String()...)
	for n := len(r.Level.String()); n < len("ERROR")+1; n++ {
		line = append(line, ' ')
	}
	line = appendPrintable(line, r.Message, false)
	line = append(line, h.fixed...)
	r.Attrs(func(a slog.Attr) bool {
		line = appendAttr(line, h.prefix, a)
		return true
	})
	line = append(line, '\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := h.out.w.Write(line)
	return err
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.fixed = append([]byte(nil), h.fixed...)
	for _, a := range attrs {
		c.fixed = appendAttr(c.fixed, h.prefix, a)
	}
	return &c
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix += name + "."
	return &c
}

func appendAttr(dst []byte, prefix string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, member := range v.Group() {
			dst = appendAttr(dst, prefix, member)
		}
		return dst
	}
	if a.Key == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = appendPrintable(dst, prefix+a.Key, true)
	dst = append(dst, '=')
	return appendValue(dst, v)
}

func appendValue(dst []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().AppendFormat(dst, time.RFC3339)
	case slog.KindAny:
		if s, ok := v.Any().(string); ok {
			return appendWord(dst, s)
		}
		if raw, err := json.Marshal(v.Any()); err == nil {
			return appendWord(dst, string(raw))
		}
	}
	return appendWord(dst, v.String())
}

// appendWord appends s so that it reads as one value: quoted if it would not.
func appendWord(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '"', '"')
	}
	for _, r := range s {
		if r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) || r == utf8.RuneError {
			return strconv.AppendQuote(dst, s)
		}
	}
	return append(dst, s...)
}

// appendPrintable appends s with everything escaped that could forge a line or
// command a terminal; spaces too, if word.
func appendPrintable(dst []byte, s string, word bool) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c > ' ' && c < 0x7f || c == ' ' && !word {
				dst = append(dst, c)
			} else {
				dst = appendHex(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n == 1) || !unicode.IsPrint(r) {
			for _, c := range []byte(s[i : i+n]) {
				dst = appendHex(dst, c)
			}
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, c byte) []byte {
	return append(dst, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
}

// appendTimeOfDay appends t's local time as HH:MM:SS.
func appendTimeOfDay(dst []byte, t time.Time) []byte {
	h, m, s := t.Local().Clock()
	return append(dst, digit(h/10), digit(h), ':', digit(m/10), digit(m), ':', digit(s/10), digit(s))
}

func digit(n int) byte { return byte('0' + n%10) }
