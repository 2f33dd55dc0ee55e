package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// MaxBody is the most bytes a request body has.
const MaxBody = 4 << 20

// Body gives the request's body. It fails with 413 RequestEntityTooLarge over
// [MaxBody].
func (c *Call) Body() ([]byte, error) {
	if !c.bodyRead {
		c.bodyRead = true
		c.body, c.bodyErr = c.readBody()
	}
	return c.body, c.bodyErr
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
	body, err := io.ReadAll(limited)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
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
