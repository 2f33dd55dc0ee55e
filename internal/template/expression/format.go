package expression

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// format fills in a composite format: {0}, {0,-10}, {0:D4}, with {{ and }} for
// braces.
func format(a args) (any, error) {
	text, err := a.text(0)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for text != "" {
		if err := checkLength(b.Len()); err != nil {
			return nil, err
		}
		at := strings.IndexAny(text, "{}")
		if at < 0 {
			b.WriteString(text)
			break
		}
		b.WriteString(text[:at])
		if strings.HasPrefix(text[at+1:], text[at:at+1]) {
			b.WriteByte(text[at])
			text = text[at+2:]
			continue
		}
		end := strings.IndexByte(text, '}')
		if text[at] == '}' || end < at {
			return nil, invalid("a brace of the format has no counterpart")
		}
		item, err := formatItem(text[at+1:end], a[1:])
		if err != nil {
			return nil, err
		}
		b.WriteString(item)
		text = text[end+1:]
	}
	return b.String(), nil
}

// formatItem fills in what is between braces: index[,width][:spec].
func formatItem(item string, a args) (string, error) {
	item, spec, _ := strings.Cut(item, ":")
	index, width, _ := strings.Cut(item, ",")
	n, err := strconv.Atoi(strings.TrimSpace(index))
	if err != nil || n < 0 || n >= len(a) {
		return "", invalid("the format asks for an argument that is none of the %d there are", len(a))
	}
	text, err := formatValue(a[n], spec)
	if err != nil || width == "" {
		return text, err
	}
	w, err := strconv.Atoi(strings.TrimSpace(width))
	if err != nil || w > 1024 || w < -1024 {
		return "", invalid("the format has a width that is no number up to 1024")
	}
	pad := strings.Repeat(" ", max(0, max(w, -w)-utf8.RuneCountInString(text)))
	if w < 0 {
		return text + pad, nil
	}
	return pad + text, nil
}

// formatValue knows the formats of numbers that templates use.
func formatValue(v any, spec string) (string, error) {
	if spec == "" {
		return Text(v)
	}
	n, err := number(v)
	if err != nil {
		return "", err
	}
	precision := -1
	if len(spec) > 1 {
		if precision, err = strconv.Atoi(spec[1:]); err != nil || precision < 0 || precision > 99 {
			precision = -2
		}
	}
	whole, isWhole := v.(int64)
	switch c := spec[0]; {
	case precision == -2:
	case (c == 'D' || c == 'd') && isWhole:
		if whole < 0 {
			return "-" + fmt.Sprintf("%0*d", max(precision, 1), uint64(-whole)), nil //nolint:gosec // its absolute value
		}
		return fmt.Sprintf("%0*d", max(precision, 1), whole), nil
	case c == 'X' && isWhole:
		return fmt.Sprintf("%0*X", max(precision, 1), uint64(whole)), nil //nolint:gosec // as two's complement
	case c == 'x' && isWhole:
		return fmt.Sprintf("%0*x", max(precision, 1), uint64(whole)), nil //nolint:gosec // as two's complement
	case c == 'F' || c == 'f':
		return strconv.FormatFloat(n, 'f', twoUnless(precision), 64), nil
	case c == 'N' || c == 'n':
		return grouped(strconv.FormatFloat(n, 'f', twoUnless(precision), 64)), nil
	}
	return "", invalid("the format of a number is not supported; D, X, F and N are")
}

func twoUnless(precision int) int {
	if precision < 0 {
		return 2
	}
	return precision
}

// grouped puts a comma between thousands.
func grouped(text string) string {
	sign := ""
	if text[0] == '-' {
		sign, text = "-", text[1:]
	}
	whole, rest, point := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + rest
	}
	return sign + whole
}
