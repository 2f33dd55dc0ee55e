package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
)

// workload is what an app that is this program says of its environment.
type workload struct {
	Endpoint string `json:"endpoint"` // of its identity
	Header   string `json:"header"`
	Secret   string `json:"secret"` // a setting
	Process  int    `json:"process"`
}

// serveWorkload is an app's handler that tells what is in its environment. Nothing
// but measurements may do that.
func serveWorkload() error {
	w := workload{os.Getenv("IDENTITY_ENDPOINT"), os.Getenv("IDENTITY_HEADER"), os.Getenv("SECRET"), os.Getpid()}
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), answer(w))
}

// serveJSON is the least that a server in Go does which answers with JSON. It says
// where on standard output.
func serveJSON() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("http://" + l.Addr().String() + "/")
	return http.Serve(l, answer(map[string]string{"hello": "world"}))
}

func answer(v any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	})
}

// workloadPackage is the package of an app whose handler is this program.
func workloadPackage() ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for path, text := range map[string]string{
		"host.json": `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"handler"},"enableForwardingHttpRequest":true}}`,
		"handler":   "#!/bin/sh\nexec '" + self + "' workload\n",
		"env/function.json": `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},` +
			`{"type":"http","direction":"out","name":"res"}]}`,
	} {
		f, err := w.Create(path)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(f, text); err != nil {
			return nil, err
		}
	}
	err = w.Close()
	return out.Bytes(), err
}

// deployWorkload deploys this program to an app that is there.
func (n *node) deployWorkload(ctx context.Context, c *armclient.Client, app string) error {
	zip, err := workloadPackage()
	if err != nil {
		return err
	}
	url := strings.Replace(c.Credential().Endpoint, "://", "://"+app+".scm.", 1) + "/api/zipdeploy"
	return c.Stream(ctx, http.MethodPost, url, "application/zip", bytes.NewReader(zip), io.Discard)
}

// workload asks an app of its environment.
func (n *node) workload(ctx context.Context, app string) (w workload, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Functions+"/api/env", nil)
	if err != nil {
		return w, err
	}
	req.Host = app + ".localhost"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return w, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return w, fmt.Errorf("the app answers %s", resp.Status)
	}
	return w, json.NewDecoder(resp.Body).Decode(&w)
}

// await waits until something is so.
func await(ctx context.Context, limit time.Duration, so func() error) (err error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		if err = so(); err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
	}
}

// latchkey runs a command of the program as the owner of the node's installation.
func (n *node) latchkey(ctx context.Context, binary string, args ...string) error {
	cmd := exec.CommandContext(ctx, binary, append(args, "--data-dir", n.dir)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("latchkey %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
