package expression

import (
	"encoding/base64"
	"net/url"
	"strings"
	"unicode/utf8"
)

func encodings() map[string]function {
	change := func(f func(string) (any, error)) function {
		return function{1, 1, func(a args) (any, error) {
			s, err := a.text(0)
			if err != nil {
				return nil, err
			}
			return f(s)
		}}
	}
	return map[string]function{
		"base64":               change(func(s string) (any, error) { return base64.StdEncoding.EncodeToString([]byte(s)), nil }),
		"base64ToString":       change(func(s string) (any, error) { return fromBase64(s) }),
		"base64ToJson":         change(base64ToJSON),
		"json":                 change(func(s string) (any, error) { return fromJSON(s) }),
		"uriComponent":         change(func(s string) (any, error) { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20"), nil }),
		"uriComponentToString": change(uriComponentToString),
		"dataUri": change(func(s string) (any, error) {
			return "data:text/plain;charset=utf8;base64," + base64.StdEncoding.EncodeToString([]byte(s)), nil
		}),
		"dataUriToString": change(dataURIToString),
		"uri":             {2, 2, joinURI},
	}
}

func fromBase64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil || !utf8.Valid(b) {
		return "", invalid("argument 1 is no text in base64")
	}
	return string(b), nil
}

func fromJSON(s string) (any, error) {
	v, err := Decode([]byte(s))
	if err != nil {
		return nil, invalid("argument 1 is not JSON")
	}
	return v, nil
}

func base64ToJSON(s string) (any, error) {
	text, err := fromBase64(s)
	if err != nil {
		return nil, err
	}
	return fromJSON(text)
}

func uriComponentToString(s string) (any, error) {
	text, err := url.PathUnescape(s)
	if err != nil || !utf8.ValidString(text) {
		return nil, invalid("argument 1 is not percent-encoded")
	}
	return text, nil
}

func dataURIToString(s string) (any, error) {
	head, data, found := strings.Cut(s, ",")
	switch {
	case !found || !strings.HasPrefix(head, "data:"):
		return nil, invalid("argument 1 is no data URI")
	case strings.HasSuffix(head, ";base64"):
		return fromBase64(data)
	}
	return uriComponentToString(data)
}

func joinURI(a args) (any, error) {
	base, err := a.text(0)
	if err != nil {
		return nil, err
	}
	relative, err := a.text(1)
	if err != nil {
		return nil, err
	}
	b, err := url.Parse(base)
	if err != nil || b.Scheme == "" {
		return nil, invalid("argument 1 is no absolute URI")
	}
	r, err := url.Parse(relative)
	if err != nil {
		return nil, invalid("argument 2 is no URI")
	}
	return b.ResolveReference(r).String(), nil
}
