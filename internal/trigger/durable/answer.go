package durable

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/engine"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

func (c *call) json(status int, v any) {
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.WriteHeader(status)
	_ = json.NewEncoder(c.w).Encode(v) // the caller may have gone
}

// message answers with an error as the extension does.
func (c *call) message(status int, text string) {
	c.json(status, map[string]string{"Message": text})
}

// accepted answers for a message to an instance.
func (c *call) accepted(err error) {
	if err != nil {
		c.refuse(notFound(err))
		return
	}
	c.w.WriteHeader(http.StatusAccepted)
}

// open gives an instance that has not ended.
func (c *call) open(id string) (*instances.Instance, error) {
	i, err := c.cfg.Engine.Get(c.r.Context(), id)
	if err != nil {
		return nil, notFound(err)
	}
	if i.Status.Final() {
		return nil, engine.ErrEnded
	}
	return i, nil
}

// notFound takes what cannot be the id of an instance for one that is not there.
func notFound(err error) error {
	if errors.Is(err, problem.Invalid) {
		return problem.New(problem.NotFound, "there is no such instance")
	}
	return err
}

func (c *call) rewind(id, reason string) {
	switch err := notFound(c.cfg.Engine.Rewind(c.r.Context(), id, reason)); {
	case err == nil:
		c.w.WriteHeader(http.StatusAccepted)
	case errors.Is(err, problem.NotFound):
		c.json(http.StatusNotFound, "No orchestration with instance ID \""+id+"\" found.")
	case errors.Is(err, problem.Conflict):
		c.json(http.StatusPreconditionFailed, err.Error())
	default:
		c.refuse(err)
	}
}

// withNext gives an error with the way out of it.
func withNext(err error) string {
	if next := problem.NextOf(err); next != "" {
		return err.Error() + "; " + next
	}
	return err.Error()
}

// refuse answers with an error, without telling what is behind faults of ours.
func (c *call) refuse(err error) {
	switch {
	case errors.Is(err, engine.ErrEnded):
		c.w.WriteHeader(http.StatusGone)
	case errors.Is(err, problem.NotFound):
		c.w.WriteHeader(http.StatusNotFound)
	case errors.Is(err, problem.Invalid):
		c.message(http.StatusBadRequest, err.Error())
	case errors.Is(err, problem.Throttled):
		c.w.Header().Set("Retry-After", "60")
		c.message(http.StatusTooManyRequests, withNext(err))
	case errors.Is(err, problem.TooLarge):
		c.message(http.StatusRequestEntityTooLarge, withNext(err))
	case errors.Is(err, problem.Exists) || errors.Is(err, problem.Conflict):
		c.message(http.StatusConflict, err.Error())
	case errors.Is(err, problem.Unsupported):
		c.message(http.StatusNotImplemented, err.Error())
	case errors.Is(err, problem.Unavailable) || errors.Is(err, problem.Timeout):
		c.cfg.Log.Warn("orchestrations cannot be reached", "reason", err)
		c.message(http.StatusServiceUnavailable, "orchestrations cannot be reached right now")
	default:
		c.cfg.Log.Error("a call about orchestrations failed", "reason", err)
		c.message(http.StatusInternalServerError, "Something went wrong while processing your request")
	}
}
