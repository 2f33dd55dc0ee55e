package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
)

// NewLogger gives a logger that writes lines of the format to w, one Write per
// line. Attributes named like a secret are hidden, and so are secret parameters
// of URLs and access keys within messages and values (see [RedactText]). The
// logger is safe for concurrent use; w must be if others write to it too.
func NewLogger(w io.Writer, format Format, level slog.Leveler) *slog.Logger {
	var next slog.Handler
	if format == JSON {
		next = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	} else {
		next = newTextHandler(w, level)
	}
	return slog.New(redactHandler{next})
}

// redactHandler hides secrets before the handler behind it sees a record.
type redactHandler struct{ next slog.Handler }

func (h redactHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.next.Enabled(ctx, l)
}

func (h redactHandler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, RedactText(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redactAttr(a))
		return true
	})
	return h.next.Handle(ctx, clean)
}

func (h redactHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return redactHandler{h.next.WithAttrs(redactAttrs(attrs))}
}

func (h redactHandler) WithGroup(name string) slog.Handler {
	return redactHandler{h.next.WithGroup(name)}
}

func redactAttrs(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redactAttr(a)
	}
	return clean
}

// RedactAttr hides what an attribute must not show, as lines of [NewLogger] do.
func RedactAttr(a slog.Attr) slog.Attr { return redactAttr(a) }

// redactAttr hides what an attribute must not show. Numbers, times and truth
// values pass whatever their name: no secret of ours is one.
func redactAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		if secretAttribute(a.Key) {
			return slog.String(a.Key, mask)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(redactAttrs(v.Group())...)}
	case slog.KindString:
		return slog.String(a.Key, redactNamed(a.Key, v.String()))
	case slog.KindAny:
		return slog.Any(a.Key, redactAny(a.Key, v.Any()))
	}
	return slog.Attr{Key: a.Key, Value: v}
}

func redactNamed(name, value string) string {
	if value != "" && secretAttribute(name) {
		return mask
	}
	return RedactText(value)
}

// redactAny reduces a value to strings, numbers, lists and maps without secrets,
// so that both formats show the same.
func redactAny(name string, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case error:
		return redactNamed(name, safely(v.Error))
	case *url.URL:
		return redactNamed(name, safely(v.String))
	case []byte:
		return redactNamed(name, string(v))
	case fmt.Stringer:
		return redactNamed(name, safely(v.String))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return redactNamed(name, fmt.Sprintf("%T", v))
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return redactNamed(name, fmt.Sprintf("%T", v))
	}
	return redactTree(name, tree)
}

// redactTree hides the secrets of a decoded JSON value known by a name.
func redactTree(name string, v any) any {
	switch v := v.(type) {
	case string:
		return redactNamed(name, v)
	case []any:
		for i := range v {
			v[i] = redactTree(name, v[i])
		}
	case map[string]any:
		named := hasName(v)
		for k, member := range v {
			if _, text := member.(string); text && named && isValue(k) {
				v[k] = mask // {name, value}: a key or a setting
				continue
			}
			v[k] = redactTree(k, member)
		}
	}
	return v
}

func hasName(object map[string]any) bool {
	_, lower := object["name"]
	_, upper := object["Name"]
	return lower || upper
}

func isValue(member string) bool { return member == "value" || member == "Value" }

// safely calls a method of a foreign value; one that panics, as methods of nil
// pointers do, must not end the process for a log line.
func safely(text func() string) (s string) {
	defer func() {
		if r := recover(); r != nil {
			s = "unprintable value"
		}
	}()
	return text()
}
