package kubeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// Status is an answer of the API server that is no success.
type Status struct {
	HTTP    int           `json:"-"`
	Wait    time.Duration `json:"-"` // before the next try, as the server asks for; 0 for none
	Kind    string        `json:"kind"`
	Code    int           `json:"code"`
	Reason  string        `json:"reason"`
	Details struct {
		Name   string `json:"name"`
		Kind   string `json:"kind"`
		Causes []struct {
			Field string `json:"field"`
		} `json:"causes"`
	} `json:"details"`
}

// Error gives the answer without the server's message, which may quote what was
// sent.
func (s *Status) Error() string {
	if s.Reason == "" {
		return strconv.Itoa(s.HTTP)
	}
	return fmt.Sprintf("%d (%s)", s.HTTP, s.Reason)
}

func readStatus(resp *http.Response) *Status {
	s := &Status{}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if json.Unmarshal(data, s) != nil || s.Kind != "Status" {
		s = &Status{}
	}
	s.HTTP = resp.StatusCode
	if n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		s.Wait = time.Duration(n) * time.Second
	}
	return s
}

// Missing reports whether the server said that there is no such object, in words
// that only an API server has: a 404 may come from anywhere.
func (s *Status) Missing(name string) bool {
	return s.HTTP == http.StatusNotFound && s.Reason == "NotFound" && s.Details.Name == name
}

// Touches reports whether the server objects to a change of a field.
func (s *Status) Touches(field string) bool {
	for _, c := range s.Details.Causes {
		if c.Field == field || strings.HasPrefix(c.Field, field+".") {
			return true
		}
	}
	return false
}

// Passing reports whether making a call again may help.
func Passing(err error) bool {
	var answer *Status
	switch {
	case err == nil, problem.KindOf(err) != problem.Internal:
		return false
	case !errors.As(err, &answer):
		return true
	case answer.Wait > 0:
		return true
	}
	switch answer.HTTP {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
