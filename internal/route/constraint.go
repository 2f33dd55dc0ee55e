package route

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// constraint is one inline constraint. It never sees an absent optional
// parameter; absent is its answer for an empty catch-all.
type constraint struct {
	match  func(value string) bool
	absent bool
}

// simple are the constraints without arguments.
var simple = map[string]constraint{
	"int":      {match: func(v string) bool { return isInteger(v, 32) }},
	"long":     {match: func(v string) bool { return isInteger(v, 64) }},
	"bool":     {match: isBool},
	"datetime": {match: isDateTime},
	"decimal":  {match: isDecimal},
	"double":   {match: isFloat},
	"float":    {match: isFloat},
	"guid":     {match: isGUID},
	"alpha":    {match: isAlpha},
	"required": {match: func(v string) bool { return v != "" }},
	"file":     {match: isFileName},
	"nonfile":  {match: func(v string) bool { return !isFileName(v) }, absent: true},
}

// bound is a constraint with whole numbers for arguments.
type bound struct {
	args  []int // allowed counts
	size  bool  // compares the length, else the value as a whole number
	check func(n int64, args []int64) bool
}

var bounds = map[string]bound{
	"minlength": {[]int{1}, true, func(n int64, a []int64) bool { return n >= a[0] }},
	"maxlength": {[]int{1}, true, func(n int64, a []int64) bool { return n <= a[0] }},
	"length":    {[]int{1, 2}, true, func(n int64, a []int64) bool { return a[0] <= n && n <= a[len(a)-1] }},
	"min":       {[]int{1}, false, func(n int64, a []int64) bool { return n >= a[0] }},
	"max":       {[]int{1}, false, func(n int64, a []int64) bool { return n <= a[0] }},
	"range":     {[]int{2}, false, func(n int64, a []int64) bool { return a[0] <= n && n <= a[1] }},
}

// parseConstraint reads name or name(arguments).
func parseConstraint(text string) (constraint, error) {
	name, args, called := strings.Cut(text, "(")
	args = strings.TrimSuffix(args, ")")
	key := strings.ToLower(strings.TrimSpace(name))
	if c, ok := simple[key]; ok {
		if called {
			return c, fmt.Errorf("constraint %s takes no argument", key)
		}
		return c, nil
	}
	if b, ok := bounds[key]; ok {
		return b.constraint(key, args, called)
	}
	switch {
	case key == "regex" && called:
		return regexConstraint(args)
	case key == "regex":
		return constraint{}, errors.New("constraint regex needs an expression")
	case key == "":
		return constraint{}, errors.New("a constraint has no name")
	}
	return constraint{}, fmt.Errorf("constraint %q is unknown", key)
}

func (b bound) constraint(name, text string, called bool) (constraint, error) {
	var args []int64
	for a := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
		if err != nil || b.size && n < 0 {
			return constraint{}, fmt.Errorf("constraint %s needs whole numbers, not %q", name, text)
		}
		args = append(args, n)
	}
	if n := len(args); !called || n != b.args[0] && n != b.args[len(b.args)-1] {
		return constraint{}, fmt.Errorf("constraint %s has the wrong number of arguments: %q", name, text)
	}
	if args[0] > args[len(args)-1] {
		return constraint{}, fmt.Errorf("constraint %s: %d is more than %d", name, args[0], args[1])
	}
	return constraint{match: func(v string) bool {
		if b.size {
			return b.check(utf16Length(v), args)
		}
		n, ok := integer(v, 64)
		return ok && b.check(n, args)
	}}, nil
}

// utf16Length counts as .NET does.
func utf16Length(s string) int64 {
	n := 0
	for _, c := range s {
		n += max(utf16.RuneLen(c), 1)
	}
	return int64(n)
}

// space is the white space .NET allows around numbers.
const space = " \t\n\v\f\r"

func integer(v string, bits int) (int64, bool) {
	n, err := strconv.ParseInt(strings.Trim(v, space), 10, bits)
	return n, err == nil
}

func isInteger(v string, bits int) bool {
	_, ok := integer(v, bits)
	return ok
}

func isBool(v string) bool {
	v = strings.TrimSpace(v)
	return strings.EqualFold(v, "true") || strings.EqualFold(v, "false")
}

func isAlpha(v string) bool {
	for i := range len(v) {
		if c := v[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// isFileName: the last path part has a dot with something after it.
func isFileName(v string) bool {
	v = v[strings.LastIndexByte(v, '/')+1:]
	_, after, ok := strings.Cut(v, ".")
	return ok && strings.Trim(after, ".") != ""
}

// isDecimal: 28-digit range, thousands separators, sign on either side.
func isDecimal(v string) bool {
	s, ok := plainNumber(v, true, false)
	if !ok {
		return false
	}
	f, err := strconv.ParseFloat(s, 64)
	const limit = 79228162514264337593543950335.0
	return err == nil && -limit <= f && f <= limit
}

// isFloat: as decimal, plus exponents and the names of the special values.
// Numbers out of range count as infinite and so match.
func isFloat(v string) bool {
	t := strings.Trim(v, space)
	for _, name := range []string{"nan", "-nan", "+nan", "infinity", "-infinity", "+infinity", "∞", "-∞", "+∞"} {
		if strings.EqualFold(t, name) {
			return true
		}
	}
	_, ok := plainNumber(v, false, true)
	return ok
}

// plainNumber checks the invariant-culture number syntax and gives the number
// without separators and with its sign in front.
func plainNumber(v string, trailingSign, exponent bool) (string, bool) {
	s := strings.Trim(v, space)
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], strings.TrimLeft(s[1:], space)
	} else if n := len(s); trailingSign && n > 0 && (s[n-1] == '-' || s[n-1] == '+') {
		sign, s = s[n-1:], strings.TrimRight(s[:n-1], space)
	}
	mantissa, exp := s, ""
	if i := strings.IndexAny(s, "eE"); exponent && i >= 0 {
		mantissa, exp = s[:i], s[i+1:]
		if !allDigits(strings.TrimPrefix(strings.TrimPrefix(exp, "+"), "-")) || strings.HasPrefix(exp, "+-") {
			return "", false
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if strings.HasPrefix(whole, ",") {
		return "", false
	}
	whole = strings.ReplaceAll(whole, ",", "")
	return sign + whole + "." + fraction, allDigits(whole + fraction)
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// dateLayouts are the forms of the invariant culture that people put in URLs.
// .NET's parser takes many more.
var dateLayouts = []string{
	"2006-1-2", "2006/1/2", "2006.1.2", "1/2/2006", "1-2-2006", "2006-01", "2006/01",
	"2006-1-2T15:04", "2006-1-2T15:04:05", "2006-1-2T15:04:05Z07:00", "2006-1-2T15:04Z07:00",
	"2006-1-2 15:04", "2006-1-2 15:04:05", "2006-1-2 15:04:05Z07:00", "2006-1-2 15:04:05 Z07:00",
	"1/2/2006 15:04", "1/2/2006 15:04:05", "1/2/2006 3:04 PM", "1/2/2006 3:04:05 PM", "2006-1-2 3:04 PM", "2006-1-2 3:04:05 PM",
	"2 Jan 2006", "2 January 2006", "Jan 2 2006", "Jan 2, 2006", "January 2, 2006", "January 2 2006", "2-Jan-2006", "Jan 2006", "January 2006",
	"Mon, 2 Jan 2006 15:04:05 GMT", "Mon, 2 Jan 2006", "Monday, January 2, 2006", "Monday, 2 January 2006",
	"15:04", "15:04:05", "3:04 PM", "3:04:05 PM", "3PM", "3 PM",
}

func isDateTime(v string) bool {
	v = strings.TrimSpace(v)
	if len(v) > 64 {
		return false
	}
	for _, layout := range dateLayouts {
		if _, err := time.Parse(layout, v); err == nil {
			return true
		}
	}
	return false
}
