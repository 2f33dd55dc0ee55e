package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/latchkey/latchkey/internal/problem"
)

// WriteJSON answers with v as JSON. Answers of management surfaces are never
// cached: they can hold keys.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// ReadJSON decodes one JSON value of at most limit bytes into v. It returns
// io.EOF for an empty body, problem.TooLarge over the limit and problem.Invalid
// for anything that is not one JSON value of the right shape.
func ReadJSON(r *http.Request, limit int64, v any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return problem.Wrap(problem.Invalid, "the request body could not be read", err)
	case int64(len(body)) > limit:
		return problem.New(problem.TooLarge, "the request body is too large")
	case len(body) == 0:
		return io.EOF
	}
	if err := json.Unmarshal(body, v); err != nil {
		return problem.Wrap(problem.Invalid, jsonMessage(err), err)
	}
	return nil
}

func jsonMessage(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return "member " + wrongType.Field + " has the wrong type in the request body"
	}
	return "the request body is not valid JSON"
}

// WriteProblem answers with an error in the functions host's dialect: plain
// text, empty where a hint would help a stranger.
func WriteProblem(w http.ResponseWriter, err error) {
	status, text := problem.HostStatus(err)
	WriteText(w, status, text)
}

// WriteText answers with plain text; an empty text gives an empty body.
func WriteText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	if text != "" {
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}
