package durable

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// maxInput bounds the input of an instance and of an event, in bytes.
const maxInput = 512 << 10

func (c *call) start(function, id string) {
	input, err := c.input()
	if err != nil {
		c.refuse(err)
		return
	}
	name, ok := c.orchestrator(function)
	if !ok {
		c.message(http.StatusBadRequest, "The function '"+function+"' doesn't exist, is disabled, or is not an orchestrator function. Additional info: "+c.known())
		return
	}
	i, err := c.cfg.Engine.Start(c.r.Context(), id, name, c.query.Get("version"), input)
	if err != nil {
		c.refuse(err)
		return
	}
	c.begun(i)
}

// orchestrator finds a function as the app spells it.
func (c *call) orchestrator(name string) (string, bool) {
	for _, f := range c.cfg.Orchestrators() {
		if strings.EqualFold(f, name) {
			return f, true
		}
	}
	return "", false
}

func (c *call) known() string {
	names := slices.Sorted(slices.Values(c.cfg.Orchestrators()))
	if len(names) == 0 {
		return "No orchestrator functions are currently registered!"
	}
	return "The following are the known orchestrator functions: '" + strings.Join(names, "', '") + "'."
}

// input reads a body of JSON; nil when there is none.
func (c *call) input() (json.RawMessage, error) {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxInput))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, problem.New(problem.TooLarge, "the body is larger than "+strconv.Itoa(maxInput)+" bytes")
		}
		return nil, problem.New(problem.Invalid, "the body could not be read")
	}
	if len(body) == 0 {
		return nil, nil
	}
	if !json.Valid(body) {
		return nil, problem.New(problem.Invalid, "Invalid JSON content")
	}
	return body, nil
}

func (c *call) raise(id, name string) {
	if _, err := c.open(id); err != nil {
		c.refuse(err)
		return
	}
	if t, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); t != "application/json" {
		c.message(http.StatusBadRequest, "Only application/json request content is supported")
		return
	}
	input, err := c.input()
	if err != nil {
		c.refuse(err)
		return
	}
	if input == nil {
		input = json.RawMessage("null")
	}
	c.accepted(c.cfg.Engine.Raise(c.r.Context(), id, name, input))
}

// seconds reads a parameter that is a number of seconds.
func (c *call) seconds(name string) (time.Duration, bool) {
	v, err := strconv.ParseFloat(c.query.Get(name), 64)
	if err != nil || v != v || v < 0 {
		return 0, false
	}
	return time.Duration(min(v, maxWait.Seconds()) * float64(time.Second)), true
}

// maxWait bounds how long a call waits for an instance.
const maxWait = 4 * time.Minute

// begun answers for an instance that was started: at once, or, where the caller
// says how long and how often it is to be looked at, with what it ended with.
func (c *call) begun(i *instances.Instance) {
	limit, given := c.seconds("timeout")
	interval, also := c.seconds("pollingInterval")
	if !given || !also {
		c.started(i.ID)
		return
	}
	if interval > limit {
		c.message(http.StatusBadRequest, "Total timeout "+c.query.Get("timeout")+" should be bigger than retry timeout "+c.query.Get("pollingInterval"))
		return
	}
	i, err := c.cfg.Engine.Wait(c.r.Context(), i.ID, limit, interval)
	switch {
	case err != nil:
		c.refuse(err)
	case i.Status == instances.Completed:
		c.json(http.StatusOK, orNull(i.Output))
	case i.Status.Final():
		c.show(i)
	default:
		c.started(i.ID)
	}
}

func (c *call) started(id string) {
	key := c.query.Get("code")
	if key == "" {
		key, _ = c.cfg.Key(c.r.Context()) // the links work with a key of the caller's own, too
	}
	l := linksTo(root(c.r), url.PathEscape(id), c.Hub.query(key))
	l.ID, l.RewindPostURI = id, ""
	h := c.w.Header()
	h.Set("Location", l.StatusQueryGetURI)
	h.Set("Retry-After", "10")
	c.json(http.StatusAccepted, l)
}

func (c *call) restart(id string) {
	fresh, err := strconv.ParseBool(c.query.Get("restartWithNewInstanceId"))
	if err != nil {
		fresh = true
	}
	i, err := c.cfg.Engine.Restart(c.r.Context(), id, fresh)
	switch {
	case errors.Is(err, problem.NotFound) || errors.Is(err, problem.Invalid):
		c.message(http.StatusBadRequest, "InstanceId does not match a valid orchestration instance.")
	case errors.Is(err, problem.Exists):
		c.message(http.StatusConflict, "A non-terminal instance with this instance ID already exists.")
	case err != nil:
		c.refuse(err)
	default:
		c.begun(i)
	}
}
