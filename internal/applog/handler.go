package applog

import (
	"context"
	"log/slog"
	"strings"

	"github.com/latchkey/latchkey/internal/telemetry"
)

// Handler gives a handler that passes records on to another, and keeps those that have
// an attribute "app" with the name of an app whose log was opened. Records of level info
// and above are kept, whatever the other one wants.
func (l *Logs) Handler(next slog.Handler) slog.Handler { return &handler{logs: l, next: next} }

// handler is the logger of a node, or of an app once that is bound.
type handler struct {
	logs  *Logs
	next  slog.Handler
	bound []slog.Attr // without secrets
	group string      // attributes in groups are not looked at
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || h.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.keep(r)
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	made := *h
	made.next = h.next.WithAttrs(attrs)
	made.bound = append([]slog.Attr(nil), h.bound...)
	for _, a := range attrs {
		made.bound = append(made.bound, h.named(telemetry.RedactAttr(a)))
	}
	return &made
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	made := *h
	made.next = h.next.WithGroup(name)
	if name != "" {
		made.group = h.group + name + "."
	}
	return &made
}

func (h *handler) named(a slog.Attr) slog.Attr {
	a.Key = h.group + a.Key
	return a
}

// keep adds a record to the log of the app it is about.
func (h *handler) keep(r slog.Record) {
	app := ""
	for _, a := range h.bound {
		if a.Key == "app" {
			app = a.Value.String()
		}
	}
	if app == "" && h.group == "" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "app" && a.Value.Kind() == slog.KindString {
				app = a.Value.String()
			}
			return app == ""
		})
	}
	if app == "" {
		return
	}
	if log := h.logs.of(app); log != nil {
		log.add(h.line(r))
	}
}

// line makes a line of a record: what workers say of themselves has a place, everything
// else is added to the text.
func (h *handler) line(r slog.Record) Line {
	x := Line{Time: r.Time, Level: r.Level, Source: Host}
	if x.Time.IsZero() {
		x.Time = h.logs.clock.Now()
	}
	var text strings.Builder
	text.WriteString(telemetry.RedactText(r.Message))
	exception := ""
	take := func(a slog.Attr) bool {
		switch a.Key {
		case "app", "category":
		case "source":
			x.Source = a.Value.String()
		case "function":
			x.Function = a.Value.String()
		case "invocation":
			x.Invocation = a.Value.String()
		case "exception":
			exception = a.Value.String()
		default:
			write(&text, "", a)
		}
		return true
	}
	for _, a := range h.bound {
		take(a)
	}
	r.Attrs(func(a slog.Attr) bool { return take(h.named(telemetry.RedactAttr(a))) })
	if exception != "" && !strings.Contains(text.String(), exception) {
		text.WriteString("\n" + exception)
	}
	x.Message = text.String()
	if !clean(x.Message) { // without colours it may be seen what is a secret
		x.Message = telemetry.RedactText(Plain(x.Message))
	}
	return x
}

// write adds an attribute to a text; those of groups have the group's name before theirs.
func write(b *strings.Builder, prefix string, a slog.Attr) {
	if a.Value.Kind() == slog.KindGroup {
		for _, member := range a.Value.Group() {
			write(b, prefix+a.Key+".", member)
		}
		return
	}
	if b.Len() < 2*maxText { // more would not be kept
		b.WriteString(" " + prefix + a.Key + "=" + a.Value.String())
	}
}
