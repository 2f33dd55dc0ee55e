package armclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

var kinds = map[int]problem.Kind{
	http.StatusUnauthorized: problem.Unauthenticated, http.StatusForbidden: problem.Denied, http.StatusNotFound: problem.NotFound,
	http.StatusConflict: problem.Conflict, http.StatusPreconditionFailed: problem.Conflict,
	http.StatusRequestEntityTooLarge: problem.TooLarge, http.StatusTooManyRequests: problem.Throttled,
	http.StatusNotImplemented: problem.Unsupported, http.StatusServiceUnavailable: problem.Unavailable,
	http.StatusGatewayTimeout: problem.Timeout, http.StatusInternalServerError: problem.Internal,
}

// apiError makes an error of an answer; its message is the API's.
func apiError(status int, text []byte) error {
	kind, known := kinds[status]
	if !known {
		kind = problem.Invalid
	}
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
		Message string `json:"Message"`
	}
	_ = json.Unmarshal(text, &body) // what is no JSON is shown below
	message := body.Error.Message
	if message == "" {
		message = body.Message
	}
	if message == "" {
		message = fmt.Sprintf("the server answered %d %s", status, http.StatusText(status))
		if plain := strings.TrimSpace(string(text)); plain != "" && len(plain) < 500 && !strings.HasPrefix(plain, "<") {
			message += ": " + plain
		}
	}
	err := problem.New(kind, strings.TrimSuffix(message, "."))
	if strings.Contains(message, "does not have authorization") { // other refusals, such as a store's, say themselves what to do
		return err.WithNext("ask an owner for a role that has the action: latchkey role assign")
	}
	return err
}
