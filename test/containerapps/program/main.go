// Command program is what the containers of these tests run. As an init container
// it asks its identity endpoint for what ASK lists, and leaves the answers and its
// own secret where the main container finds them. As a main container it tells of
// them, and asks whatever it is told to, in its own name or with another secret.
// Nothing but tests may do that.
package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// told is what a container says of itself and of what it was answered.
type told struct {
	Header  string            `json:"header"`
	Answers map[string]answer `json:"answers"` // by query
}

type answer struct {
	Status int    `json:"status"` // 0: none came
	Body   string `json:"body"`
	Micros int64  `json:"micros"`
}

// question is what a main container is told to ask; Header is its own if "".
type question struct {
	Header  string   `json:"header"`
	Queries []string `json:"queries"`
	Times   int      `json:"times"` // of each; the last answer counts, with the middle of all times
}

func main() {
	switch file := filepath.Join(os.Getenv("CONTAINER_ROOT"), "/shared/init.json"); os.Args[1] {
	case "init":
		text, err := json.Marshal(ask(question{Queries: strings.Split(os.Getenv("ASK"), "\n")}))
		if err == nil {
			err = os.WriteFile(file, text, 0o644) // of the replica only
		}
		if err != nil {
			os.Exit(1)
		}
	case "main":
		serve(file)
		os.Exit(2)
	}
}

func serve(file string) {
	at := ":8080"
	if port := os.Getenv("PORT"); port != "" { // where containers share the machine's network
		at = "127.0.0.1:" + port
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/init", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	mux.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		var q question
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(ask(q))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, os.Getenv("CONTAINER_APP_REVISION"))
	})
	server := &http.Server{Addr: at, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	_ = server.ListenAndServe()
}

func ask(q question) told {
	out := told{Header: os.Getenv("IDENTITY_HEADER"), Answers: map[string]answer{}}
	if q.Header == "" {
		q.Header = out.Header
	}
	for _, query := range q.Queries {
		var a answer
		var took []int64
		for range max(q.Times, 1) {
			a = one(q.Header, query)
			took = append(took, a.Micros)
		}
		slices.Sort(took)
		a.Micros = took[len(took)/2]
		out.Answers[query] = a
	}
	return out
}

// one asks for a token. What is not answered is asked again for a while, as client
// libraries do.
func one(header, query string) (a answer) {
	for range 50 {
		r, err := http.NewRequest("GET", os.Getenv("IDENTITY_ENDPOINT")+"?api-version=2019-08-01&resource=https://vault.azure.net&"+query, nil)
		if err != nil {
			return a
		}
		r.Header.Set("X-IDENTITY-HEADER", header)
		began := time.Now()
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil {
			return answer{res.StatusCode, string(body), time.Since(began).Microseconds()}
		}
	}
	return a
}
