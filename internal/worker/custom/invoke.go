package custom

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// Invoke sends the invocation as a JSON document to /<FunctionName> and waits
// for the JSON answer. A deadline of ctx bounds the exchange.
func (w *Worker) Invoke(ctx context.Context, inv *worker.Invocation) (*worker.Result, error) {
	body, err := w.payload(inv)
	if err != nil {
		return nil, err
	}
	w.calls.begin(inv)
	defer w.calls.end(inv)
	status, answer, err := w.call(ctx, inv, body)
	if err != nil {
		return nil, err
	}
	return w.result(inv, status, answer)
}

// call posts body and reads the whole answer.
func (w *Worker) call(ctx context.Context, inv *worker.Invocation, body []byte) (int, []byte, error) {
	req, err := w.callRequest(ctx, inv, body)
	if err != nil {
		return 0, nil, problem.Wrap(problem.Internal, "the invocation cannot be sent", err)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return 0, nil, w.blame(ctx, callError(ctx, err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, w.cfg.MaxAnswerBytes+1))
	if err != nil {
		return 0, nil, w.blame(ctx, callError(ctx, err))
	}
	if int64(len(answer)) > w.cfg.MaxAnswerBytes {
		return 0, nil, problem.New(problem.Internal,
			fmt.Sprintf("the answer of function %s is larger than %d bytes", inv.Function.Name, w.cfg.MaxAnswerBytes))
	}
	return resp.StatusCode, answer, nil
}

func (w *Worker) callRequest(ctx context.Context, inv *worker.Invocation, body []byte) (*http.Request, error) {
	target := "http://" + w.addr + "/" + url.PathEscape(inv.Function.Name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header[headerInvocation] = []string{inv.ID}
	req.Header[headerHostVersion] = []string{w.cfg.HostVersion}
	req.Header.Set("User-Agent", w.userAgent())
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if inv.KeyName != "" {
		req.Header.Set(headerKeyName, fieldValue(inv.KeyName))
	}
	return req, nil
}

// answer is the document a handler answers with; its keys ignore case.
type answer struct {
	Outputs     map[string]json.RawMessage
	Logs        []json.RawMessage
	ReturnValue json.RawMessage
}

// result understands an answer. Logs are kept even when the function failed.
func (w *Worker) result(inv *worker.Invocation, status int, body []byte) (*worker.Result, error) {
	var a answer
	err := decodeAnswer(body, &a)
	if err == nil {
		w.functionLogs(inv, a.Logs)
	}
	if status < 200 || status > 299 {
		return nil, problem.New(problem.Internal,
			fmt.Sprintf("function %s failed: the custom handler answered status %d", inv.Function.Name, status))
	}
	if err != nil {
		return nil, problem.Wrap(problem.Internal, fmt.Sprintf("the answer of function %s is not the JSON document a custom handler must give",
			inv.Function.Name), err).
			WithNext(`answer {"Outputs": {...}, "Logs": [...], "ReturnValue": ...}, or set customHandler.enableForwardingHttpRequest in host.json`)
	}
	return outcome(inv, &a)
}

// decodeAnswer reads the document; nothing at all is an empty one.
func decodeAnswer(body []byte, a *answer) error {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, a)
}

func (w *Worker) functionLogs(inv *worker.Invocation, logs []json.RawMessage) {
	for _, raw := range logs {
		w.cfg.Logs(worker.LogLine{Level: "info", Message: text(raw), Function: inv.Function.Name,
			InvocationID: inv.ID, Source: "function"})
	}
}

// text gives a JSON string's value, and any other value as it is written.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && !isNull(raw) {
		return s
	}
	return string(raw)
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || string(bytes.TrimSpace(raw)) == "null"
}
