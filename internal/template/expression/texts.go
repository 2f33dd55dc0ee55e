package expression

import (
	"strings"
	"unicode/utf8"
)

func texts() map[string]function {
	change := func(f func(string) string) function {
		return function{1, 1, func(a args) (any, error) {
			s, err := a.text(0)
			return f(s), err
		}}
	}
	search := func(f func(s, of string) any) function {
		return function{2, 2, func(a args) (any, error) {
			s, err := a.text(0)
			if err != nil {
				return nil, err
			}
			of, err := a.text(1)
			return f(strings.ToLower(s), strings.ToLower(of)), err // without regard to case
		}}
	}
	return map[string]function{
		"toLower":      change(strings.ToLower),
		"toUpper":      change(strings.ToUpper),
		"trim":         change(strings.TrimSpace),
		"startsWith":   search(func(s, of string) any { return strings.HasPrefix(s, of) }),
		"endsWith":     search(func(s, of string) any { return strings.HasSuffix(s, of) }),
		"indexOf":      {2, 2, func(a args) (any, error) { return find(a, strings.Index, false) }},
		"lastIndexOf":  {2, 2, func(a args) (any, error) { return find(a, strings.LastIndex, true) }},
		"replace":      {3, 3, replace},
		"split":        {2, 2, split},
		"join":         {2, 2, join},
		"substring":    {2, 3, substring},
		"padLeft":      {2, 3, padLeft},
		"string":       {1, 1, func(a args) (any, error) { return Text(a[0]) }},
		"format":       {1, -1, format},
		"guid":         {1, -1, func(a args) (any, error) { return hashed(a, GUID) }},
		"uniqueString": {1, -1, func(a args) (any, error) { return hashed(a, UniqueString) }},
	}
}

func hashed(a args, hash func(...string) string) (any, error) {
	list, err := a.texts()
	if err != nil {
		return nil, err
	}
	return hash(list...), nil
}

// find gives where a text is in another in characters, or an element in an array.
func find(a args, index func(s, sub string) int, last bool) (any, error) {
	if list, ok := a[0].([]any); ok {
		at := int64(-1)
		for i, v := range list {
			if Equal(v, a[1]) && (last || at < 0) {
				at = int64(i)
			}
		}
		return at, nil
	}
	s, err := a.text(0)
	if err != nil {
		return nil, err
	}
	of, err := a.text(1)
	if err != nil {
		return nil, err
	}
	s = strings.ToLower(s)
	at := index(s, strings.ToLower(of))
	if at > 0 {
		at = utf8.RuneCountInString(s[:at])
	}
	return int64(at), nil
}

func replace(a args) (any, error) {
	s, err := a.text(0)
	if err != nil {
		return nil, err
	}
	from, err := a.text(1)
	if err != nil {
		return nil, err
	}
	to, err := a.text(2)
	if err != nil {
		return nil, err
	}
	if from == "" {
		return nil, invalid("argument 2 must not be empty")
	}
	if err := checkLength(len(s) + strings.Count(s, from)*(len(to)-len(from))); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(s, from, to), nil
}

func split(a args) (any, error) {
	s, err := a.text(0)
	if err != nil {
		return nil, err
	}
	delimiters, ok := a[1].([]any)
	if !ok {
		delimiters = []any{a[1]}
	}
	parts := []string{s}
	for i := range delimiters {
		d, err := args(delimiters).text(i)
		if err != nil || d == "" {
			return nil, invalid("a delimiter must be text that is not empty")
		}
		var next []string
		for _, p := range parts {
			if next = append(next, strings.Split(p, d)...); len(next) > maxNodes {
				return nil, invalid("there are too many parts")
			}
		}
		parts = next
	}
	list := make([]any, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	return list, nil
}

func join(a args) (any, error) {
	list, err := a.array(0)
	if err != nil {
		return nil, err
	}
	delimiter, err := a.text(1)
	if err != nil {
		return nil, err
	}
	parts, err := args(list).texts()
	if err != nil {
		return nil, err
	}
	size := len(delimiter) * len(parts)
	for _, p := range parts {
		size += len(p)
	}
	if err := checkLength(size); err != nil {
		return nil, err
	}
	return strings.Join(parts, delimiter), nil
}

func substring(a args) (any, error) {
	s, err := a.text(0)
	if err != nil {
		return nil, err
	}
	runes := []rune(s)
	from, err := a.int(1)
	if err != nil {
		return nil, err
	}
	if from < 0 || from > int64(len(runes)) {
		return nil, invalid("the text has %d characters, so nothing begins at %d", len(runes), from)
	}
	size := int64(len(runes)) - from
	if len(a) == 3 {
		if size, err = a.int(2); err != nil {
			return nil, err
		}
	}
	if size < 0 || size > int64(len(runes))-from {
		return nil, invalid("the text has %d characters, so there are no %d from %d", len(runes), size, from)
	}
	return string(runes[from : from+size]), nil
}

func padLeft(a args) (any, error) {
	s, err := Text(a[0])
	if err != nil {
		return nil, err
	}
	width, err := a.int(1)
	if err != nil {
		return nil, err
	}
	with := " "
	if len(a) == 3 {
		if with, err = a.text(2); err != nil {
			return nil, err
		}
	}
	if utf8.RuneCountInString(with) != 1 {
		return nil, invalid("argument 3 must be one character")
	}
	if width > 16<<10 {
		return nil, invalid("the width is too large")
	}
	return strings.Repeat(with, max(0, int(width)-utf8.RuneCountInString(s))) + s, nil
}
