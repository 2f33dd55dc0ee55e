package web

import (
	"net/http"
	"slices"

	"github.com/rs/cors"

	"github.com/latchkey/latchkey/internal/problem"
)

// CORS lets pages of the given origins read the answers of next; "*" is every
// origin. Preflight requests are answered here, without a key. It returns
// problem.Invalid for credentials together with "*", which would let every page
// act with its reader's identity.
func CORS(origins []string, credentials bool, next http.Handler) (http.Handler, error) {
	if len(origins) == 0 {
		return next, nil
	}
	if credentials && slices.Contains(origins, "*") {
		return nil, problem.New(problem.Invalid, "CORS credentials cannot be allowed for every origin").
			WithNext("name the origins in Host.CORS, or remove Host.CORSCredentials")
	}
	return cors.New(cors.Options{
		AllowedOrigins:   origins,
		AllowCredentials: credentials,
		AllowedHeaders:   []string{"*"},
		AllowedMethods: []string{
			http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
		},
	}).Handler(next), nil
}
