package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// MaxBody is the most bytes a request body has.
const MaxBody = 4 << 20

// Body gives the request's body. It fails with 413 RequestEntityTooLarge over
// [MaxBody], with 408 RequestTimeout for one that takes too long, and as the call
// would if it were made anew: while a body arrives slowly, the caller can lose the
// right to send it, or a resource can make way for another one of the same id.
func (c *Call) Body() ([]byte, error) {
	if !c.bodyRead {
		c.bodyRead = true
		if c.body, c.bodyErr = c.readBody(); c.bodyErr == nil && len(c.body) > 0 && c.recheck != nil {
			c.bodyErr = c.recheck()
		}
	}
	return c.body, c.bodyErr
}

// Arriving gives the body for being read piece by piece, instead of [Call.Body].
// All of it must arrive within a time; its size is for the reader to bound.
func (c *Call) Arriving(within time.Duration) io.Reader {
	c.arriveUntil(time.Now().Add(within))
	return c.HTTP.Body
}

// arriveUntil bounds how long reading from the client may take; the zero time is
// for ever. Where the connection cannot do that, the server's own limits hold.
func (c *Call) arriveUntil(t time.Time) {
	if c.writer != nil {
		_ = http.NewResponseController(c.writer).SetReadDeadline(t)
	}
}

func (c *Call) readBody() ([]byte, error) {
	tooLarge := Faultf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request body has more than %d bytes.", MaxBody)
	if c.HTTP.Body == nil {
		return nil, nil
	}
	limited := http.MaxBytesReader(c.writer, c.HTTP.Body, MaxBody) // closes the connection afterwards
	if c.HTTP.ContentLength > MaxBody {
		if c.writer != nil {
			c.writer.Header().Set("Connection", "close")
		}
		return nil, tooLarge
	}
	c.arriveUntil(time.Now().Add(c.bodyTime))
	body, err := io.ReadAll(limited)
	c.arriveUntil(time.Time{}) // the handler may take longer
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, Faultf(http.StatusRequestTimeout, "RequestTimeout", "The request body took too long to arrive.")
	case err != nil && c.Context().Err() != nil:
		return nil, c.Context().Err()
	case err != nil:
		return nil, Faultf(http.StatusBadRequest, "InvalidRequestContent", "The request body could not be read to its end.")
	}
	return bytes.TrimPrefix(body, []byte("\ufeff")), nil
}

// JSON decodes the request's body into v. Members that v does not have are left
// out, as clients send back whole answers. It fails with 400 InvalidRequestContent
// that names the line or the member, and as [Call.Body] does.
func (c *Call) JSON(v any) error {
	body, err := c.Body()
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return contentFault("", "the body is empty")
	}
	return Decode(body, v)
}

// Decode decodes JSON as [Call.JSON] does.
func Decode(text []byte, v any) error {
	err := json.Unmarshal(text, v)
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	var fault Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault): // of an own UnmarshalJSON
		return fault
	case errors.As(err, &syntax):
		line, column := position(text, syntax.Offset)
		return contentFault("", fmt.Sprintf("the body is not JSON at line %d, column %d", line, column))
	case errors.As(err, &typed):
		// Value can be "number 12345": what was sent may be a secret.
		kind, _, _ := strings.Cut(typed.Value, " ")
		line, _ := position(text, typed.Offset)
		return contentFault(typed.Field, fmt.Sprintf("%s must not be of type %s (line %d)", member(typed.Field), kind, line))
	}
	return contentFault("", "a member of the body has a value that cannot be understood")
}

func member(path string) string {
	if path == "" {
		return "the body"
	}
	return "member '" + path + "'"
}

func contentFault(target, why string) Fault {
	return Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: target,
		Message: "The request content is invalid: " + why + "."}
}

// position gives the line and column of the last byte read, from 1.
func position(text []byte, offset int64) (line, column int) {
	read := text[:min(int64(len(text)), max(offset, 0))]
	return 1 + bytes.Count(read, []byte("\n")), max(1, len(read)-bytes.LastIndexByte(read, '\n')-1)
}
