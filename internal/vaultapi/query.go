package vaultapi

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
)

// query is what is read of a URL's query. Other parameters, such as
// outContentType, are for what these vaults do not have and change nothing.
type query struct {
	version    string // api-version as sent
	maxResults int    // most items of a page
	limited    bool   // the client said so
	marker     string // where the page begins; "" is the beginning
	resumed    bool   // there was a skip token
}

const (
	maxQuery = 4096 // bytes
	pageSize = 25   // most items of a page, and how many there are if not told
)

// readQuery reads a query. Names count without regard to case, the first of a
// name counts.
func readQuery(raw string) (query, error) {
	q := query{maxResults: pageSize}
	if len(raw) > maxQuery {
		return q, badParameter("The query of the request is too long.")
	}
	var limit, token string
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		to := q.place(name, &limit, &token)
		if to == nil || *to != "" {
			continue
		}
		var err error
		if *to, err = unescape(value); err != nil {
			return q, badParameter("The query of the request is not encoded correctly.")
		}
	}
	if err := checkVersion(q.version); err != nil {
		return q, err
	}
	if err := q.setLimit(limit); err != nil {
		return q, err
	}
	return q, q.setMarker(token)
}

// place gives where the value of a parameter belongs, nil for nowhere.
func (q *query) place(name string, limit, token *string) *string {
	switch plain, err := unescape(name); {
	case err != nil:
		return nil
	case strings.EqualFold(plain, "api-version"):
		return &q.version
	case strings.EqualFold(plain, "maxresults"):
		return limit
	case strings.EqualFold(plain, "$skiptoken"):
		return token
	}
	return nil
}

func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	return url.QueryUnescape(s)
}

// checkVersion takes every version that looks like one: 7.4, 7.6-preview.1,
// 2026-04-01, 2025-06-01-preview. All get the same answers.
func checkVersion(version string) error {
	rest, numbered := strings.CutPrefix(version, "7.")
	switch {
	case version == "":
		return badParameter("The query parameter api-version is missing. Clients name one such as api-version=7.4 or api-version=2025-07-01.")
	case numbered && isNumbered(rest), isDated(version):
		return nil
	}
	return badParameter("The api-version " + clip(version) + " is not one of this service. Use one such as 7.4 or 2025-07-01.")
}

func isNumbered(minor string) bool {
	minor, preview, found := strings.Cut(minor, "-preview.")
	return isDigits(minor) && (!found || isDigits(preview))
}

func isDated(version string) bool {
	version = strings.TrimSuffix(version, "-preview")
	return len(version) == len("2026-04-01") && version[4] == '-' && version[7] == '-' &&
		isDigits(version[:4]) && isDigits(version[5:7]) && isDigits(version[8:])
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && len(s) <= 8
}

func (q *query) setLimit(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > pageSize {
		return badParameter("The query parameter maxresults must be a number from 1 through " + strconv.Itoa(pageSize) + ".")
	}
	q.maxResults, q.limited = n, true
	return nil
}

// skipToken is what a link to the next page carries, for nobody but us to read.
type skipToken struct {
	NextMarker     string
	TargetLocation int
}

func (q *query) setMarker(token string) error {
	if token == "" {
		return nil
	}
	text, err := base64.StdEncoding.DecodeString(token)
	var t skipToken
	if err != nil || json.Unmarshal(text, &t) != nil || t.NextMarker != "" && !validName(t.NextMarker) {
		return badParameter("The query parameter $skiptoken is not one of this service: follow the nextLink of a page as it is.")
	}
	q.marker, q.resumed = t.NextMarker, true
	return nil
}

// nextLink gives the link to the page that begins after marker. As the cloud
// does, it always spells the port.
func (q *query) nextLink(host, path, marker string) string {
	text, err := json.Marshal(skipToken{NextMarker: marker})
	if err != nil {
		return "" // a struct of a string and a number can always be encoded
	}
	link := "https://" + withPort(host) + path + "?api-version=" + url.QueryEscape(q.version) +
		"&$skiptoken=" + url.QueryEscape(base64.StdEncoding.EncodeToString(text))
	if q.limited {
		link += "&maxresults=" + strconv.Itoa(q.maxResults)
	}
	return link
}

// withPort spells the port of a host that has none.
func withPort(host string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	return host + ":443"
}
