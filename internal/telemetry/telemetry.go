// Package telemetry owns what operators see of a running node: the diagnostic
// logger, the request log, metrics, and the answers to "are you alive" and "are
// you ready". Everything that leaves through it is redacted first, so that no
// access key reaches a log, a metric or a health page.
//
// It deliberately does not know functions, keys or stores: callers tell it
// names, numbers and reasons. net/http is used for the operator's handlers only.
package telemetry

import (
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Format is the form log lines are written in.
type Format string

const (
	// Text is for people at a terminal: short lines, local time of day.
	Text Format = "text"
	// JSON is for collectors: one object per line, times in UTC.
	JSON Format = "json"
)

// ParseFormat reads a format's name, ignoring case; anything but "text" and
// "json" is problem.Invalid.
func ParseFormat(s string) (Format, error) {
	switch f := Format(strings.ToLower(s)); f {
	case Text, JSON:
		return f, nil
	}
	return "", problem.New(problem.Invalid, "unknown log format "+strconv.Quote(s)).
		WithNext("use text or json")
}
