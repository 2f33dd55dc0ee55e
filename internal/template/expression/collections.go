package expression

import (
	"slices"
	"strings"
	"unicode/utf8"
)

func collections() map[string]function {
	return map[string]function{
		"array":        {1, 1, toArray},
		"createArray":  {0, -1, func(a args) (any, error) { return []any(a), nil }},
		"concat":       {1, -1, concat},
		"length":       {1, 1, length},
		"empty":        {1, 1, empty},
		"first":        {1, 1, func(a args) (any, error) { return end(a, true) }},
		"last":         {1, 1, func(a args) (any, error) { return end(a, false) }},
		"take":         {2, 2, func(a args) (any, error) { return cut(a, true) }},
		"skip":         {2, 2, func(a args) (any, error) { return cut(a, false) }},
		"contains":     {2, 2, contains},
		"flatten":      {1, 1, flatten},
		"union":        {1, -1, union},
		"intersection": {2, -1, intersection},
		"indexFromEnd": {2, 2, indexFromEnd},
	}
}

func toArray(a args) (any, error) {
	if list, ok := a[0].([]any); ok {
		return list, nil
	}
	return []any{a[0]}, nil
}

// concat joins arrays, or anything else as text.
func concat(a args) (any, error) {
	if _, ok := a[0].([]any); ok {
		list := []any{}
		for i := range a {
			more, err := a.array(i)
			if err != nil {
				return nil, err
			}
			if list = append(list, more...); len(list) > maxNodes {
				return nil, invalid("the array is too large")
			}
		}
		return list, nil
	}
	var b strings.Builder
	for i, v := range a {
		switch v.(type) {
		case []any, map[string]any:
			return nil, invalid("argument %d must be text, not of type %s", i+1, typeName(v))
		}
		t, err := Text(v)
		if err != nil {
			return nil, err
		}
		if err := checkLength(b.Len() + len(t)); err != nil {
			return nil, err
		}
		b.WriteString(t)
	}
	return b.String(), nil
}

func size(v any) (int, error) {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	return 0, invalid("argument 1 must be a string, array or object, not of type %s", typeName(v))
}

func length(a args) (any, error) {
	n, err := size(a[0])
	return int64(n), err
}

func empty(a args) (any, error) {
	if a[0] == nil {
		return true, nil
	}
	n, err := size(a[0])
	return n == 0, err
}

// end gives the first or last character or element.
func end(a args, first bool) (any, error) {
	switch v := a[0].(type) {
	case string:
		r, n := utf8.DecodeRuneInString(v)
		if !first {
			r, n = utf8.DecodeLastRuneInString(v)
		}
		if n == 0 {
			return "", nil
		}
		return string(r), nil
	case []any:
		switch {
		case len(v) == 0:
			return nil, nil
		case first:
			return v[0], nil
		}
		return v[len(v)-1], nil
	}
	return nil, invalid("argument 1 must be a string or array, not of type %s", typeName(a[0]))
}

// cut gives the first characters or elements, or all but those.
func cut(a args, first bool) (any, error) {
	n, err := a.int(1)
	if err != nil {
		return nil, err
	}
	n = max(n, 0)
	switch v := a[0].(type) {
	case string:
		runes := []rune(v)
		n = min(n, int64(len(runes)))
		if first {
			return string(runes[:n]), nil
		}
		return string(runes[n:]), nil
	case []any:
		n = min(n, int64(len(v)))
		if first {
			return v[:n:n], nil
		}
		return v[n:], nil
	}
	return nil, invalid("argument 1 must be a string or array, not of type %s", typeName(a[0]))
}

func contains(a args) (any, error) {
	switch v := a[0].(type) {
	case string:
		t, err := Text(a[1])
		return strings.Contains(v, t), err
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return Equal(e, a[1]) }), nil
	case map[string]any:
		t, err := Text(a[1])
		_, ok := Get(v, t)
		return ok, err
	}
	return nil, invalid("argument 1 must be a string, array or object, not of type %s", typeName(a[0]))
}

func flatten(a args) (any, error) {
	lists, err := a.array(0)
	if err != nil {
		return nil, err
	}
	if len(lists) == 0 {
		return []any{}, nil
	}
	for _, l := range lists {
		if _, ok := l.([]any); !ok {
			return nil, invalid("argument 1 must be an array of arrays")
		}
	}
	return concat(lists)
}

// distinct keeps the first of equal elements of arrays. Elements are compared as
// text, so that the effort does not grow with the square of their number.
func distinct(lists [][]any, keep func(key string) bool) ([]any, error) {
	seen, out := map[string]bool{}, []any{}
	for _, list := range lists {
		for _, v := range list {
			key, err := Encode(v)
			if err != nil {
				return nil, err
			}
			if !seen[key] && keep(key) {
				out = append(out, v)
			}
			seen[key] = true
		}
	}
	return out, nil
}

func (a args) arrays() ([][]any, error) {
	lists := make([][]any, len(a))
	for i := range a {
		list, err := a.array(i)
		if err != nil {
			return nil, err
		}
		lists[i] = list
	}
	return lists, nil
}

func union(a args) (any, error) {
	if _, ok := a[0].(map[string]any); ok {
		return unionObjects(a)
	}
	lists, err := a.arrays()
	if err != nil {
		return nil, err
	}
	return distinct(lists, func(string) bool { return true })
}

func intersection(a args) (any, error) {
	if _, ok := a[0].(map[string]any); ok {
		return intersectObjects(a)
	}
	lists, err := a.arrays()
	if err != nil {
		return nil, err
	}
	in := map[string]int{} // in how many of the first arrays an element is
	for i, list := range lists {
		for _, v := range list {
			key, err := Encode(v)
			if err != nil {
				return nil, err
			}
			if in[key] == i {
				in[key]++
			}
		}
	}
	return distinct(lists[:1], func(key string) bool { return in[key] == len(lists) })
}

func indexFromEnd(a args) (any, error) {
	list, err := a.array(0)
	if err != nil {
		return nil, err
	}
	n, err := a.int(1)
	if err != nil {
		return nil, err
	}
	return Index(list, int64(len(list))-n)
}
