package accesskey

import (
	"strings"
	"time"
	"unicode/utf8"
)

// retiredMark separates the name of a key from the end of a former value of it.
// All characters of the form are good for names of every store.
const (
	retiredMark = ".until-"
	retiredForm = "20060102T150405Z"
)

// RetiredName gives the name under which a former value of a key is kept until a
// time, cut to whole seconds: "default.until-20300131T120000Z". The end is part of
// the name so that it holds even where a store, or another program that writes to
// it, drops all metadata. A name that would become too long is cut; Meta.Retires
// has the whole name.
func RetiredName(name string, until time.Time) string {
	suffix := retiredMark + until.UTC().Format(retiredForm)
	for utf8.RuneCountInString(name)+len(suffix) > MaxNameLen {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return strings.TrimRight(name, " ") + suffix
}

// ParseRetiredName tells names that RetiredName gives from others, ignoring case.
func ParseRetiredName(name string) (base string, until time.Time, ok bool) {
	cut := len(name) - len(retiredMark) - len(retiredForm)
	if cut <= 0 || !strings.EqualFold(name[cut:cut+len(retiredMark)], retiredMark) {
		return "", time.Time{}, false
	}
	until, err := time.Parse(retiredForm, strings.ToUpper(name[cut+len(retiredMark):]))
	if err != nil {
		return "", time.Time{}, false
	}
	return name[:cut], until, true
}
