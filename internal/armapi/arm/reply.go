package arm

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
)

// OK answers 200 with a body.
func OK(body any) Reply { return Reply{Status: http.StatusOK, Body: body} }

// Created answers 201 with a body.
func Created(body any) Reply { return Reply{Status: http.StatusCreated, Body: body} }

// Accepted answers 202 with the address that tells how the work goes on, which
// must be absolute, and an optional body.
func Accepted(location string, body any) Reply {
	return Reply{Status: http.StatusAccepted, Body: body,
		Header: http.Header{"Azure-Asyncoperation": {location}, "Location": {location}, "Retry-After": {"0"}}}
}

// NoContent answers 204.
func NoContent() Reply { return Reply{Status: http.StatusNoContent} }

// Status answers a status without a body.
func Status(code int) Reply { return Reply{Status: code} }

// WithETag gives the reply an entity tag, without quotes.
func (r Reply) WithETag(tag string) Reply {
	r.ETag = tag
	return r
}

// page is the form of all lists.
type page[T any] struct {
	Value    []T     `json:"value"`
	NextLink *string `json:"nextLink"`
}

// List answers one page of a list. next is where the next page begins, in the
// handler's own words ([Call.SkipToken] gives it back); "" is the last page.
func List[T any](c *Call, items []T, next string) Reply {
	p := page[T]{Value: items}
	if items == nil {
		p.Value = []T{}
	}
	if next != "" {
		link := c.nextLink(next)
		p.NextLink = &link
	}
	return OK(p)
}

// NextLink gives the address of the next page of a list that is more than a list; next
// is as in [List].
func (c *Call) NextLink(next string) string { return c.nextLink(next) }

func (c *Call) nextLink(next string) string {
	query := url.Values{}
	for name, values := range c.Query {
		query[name] = values
	}
	query.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(next)))
	return c.BaseURL + c.HTTP.URL.EscapedPath() + "?" + query.Encode()
}

// SkipToken gives where the page that is asked for begins: what was next in
// [List]; "" is from the first.
func (c *Call) SkipToken() (string, error) {
	token := c.Query.Get("$skiptoken")
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", Faultf(http.StatusBadRequest, "InvalidSkipToken", "The $skiptoken is none that this server gave.")
	}
	return string(text), nil
}

// Top gives how many items a page is to have: $top, at most most; most without
// $top.
func (c *Call) Top(most int) (int, error) {
	text := c.Query.Get("$top")
	if text == "" {
		return most, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, Fault{Status: http.StatusBadRequest, Code: "InvalidTopParameter",
			Message: fmt.Sprintf("The $top parameter must be a number above 0, not '%s'.", clip(text)), Target: "$top"}
	}
	return min(n, most), nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
