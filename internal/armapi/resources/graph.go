package resources

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/resources/query"
	"github.com/latchkey/latchkey/internal/inventory"
)

// graphBody is a request to Resource Graph.
type graphBody struct {
	Subscriptions []string `json:"subscriptions"`
	Query         string   `json:"query"`
	Options       struct {
		Top          *int   `json:"$top"`
		Skip         int    `json:"$skip"`
		SkipToken    string `json:"$skipToken"`
		ResultFormat string `json:"resultFormat"`
	} `json:"options"`
	Facets []json.RawMessage `json:"facets"`
}

// graphColumns are the columns without project, and all fields that are no path.
var graphColumns = []string{
	"id", "name", "type", "tenantId", "kind", "location", "resourceGroup", "subscriptionId", "sku", "identity", "tags", "properties",
}

// graph answers a Resource Graph query: as a table for clients of 2019-04-01, as
// objects for others, unless they say what they want.
func (s *Service) graph(c *arm.Call) (arm.Reply, error) {
	var body graphBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	table, err := body.table(c.APIVersion)
	if err != nil {
		return arm.Reply{}, err
	}
	q, err := query.ParseGraph(body.Query, isGraphField)
	if err != nil {
		return arm.Reply{}, badGraph(err.Error())
	}
	found, err := s.search(c, q, body.Subscriptions)
	if err != nil {
		return arm.Reply{}, err
	}
	rows, next, err := body.cut(found)
	if err != nil {
		return arm.Reply{}, err
	}
	columns := q.Columns
	if columns == nil {
		for _, name := range graphColumns {
			columns = append(columns, query.Column{Name: name, Field: name})
		}
	}
	answer := map[string]any{
		"totalRecords": len(found), "count": len(rows), "facets": []any{}, "resultTruncated": "false",
	}
	if next != "" {
		answer["$skipToken"] = next
	}
	if table {
		answer["data"] = s.table(rows, columns)
	} else {
		answer["data"] = s.objects(rows, columns)
	}
	return arm.OK(answer), nil
}

func badGraph(why string) arm.Fault {
	return arm.Fault{Status: http.StatusBadRequest, Code: "BadRequest", Message: "The query cannot be carried out: " + why + ".",
		Details: []arm.Detail{{Code: "InvalidQuery", Message: why}}}
}

// table says which form the answer has.
func (b graphBody) table(version string) (bool, error) {
	if len(b.Facets) > 0 {
		return false, badGraph("facets are not supported")
	}
	switch strings.ToLower(b.Options.ResultFormat) {
	case "":
		return version < "2019-05", nil
	case "table":
		return true, nil
	case "objectarray":
		return false, nil
	}
	return false, badGraph("the resultFormat is table or objectArray")
}

// cut gives the page that is asked for, and the token of the next.
func (b graphBody) cut(rows []inventory.Resource) (page []inventory.Resource, next string, err error) {
	from, most := b.Options.Skip, maxPage
	if b.Options.SkipToken != "" {
		text, _ := base64.RawURLEncoding.DecodeString(b.Options.SkipToken)
		if from, err = strconv.Atoi(string(text)); err != nil {
			return nil, "", badGraph("the $skipToken is none that this server gave")
		}
	}
	if b.Options.Top != nil {
		most = min(most, *b.Options.Top)
	}
	if from < 0 || most < 1 {
		return nil, "", badGraph("$skip is at least 0 and $top at least 1")
	}
	from = min(from, len(rows))
	to := min(from+most, len(rows))
	if to < len(rows) {
		next = base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	}
	return rows[from:to], next, nil
}

// search gives the resources that a query chooses and the caller may see.
func (s *Service) search(c *arm.Call, q query.Graph, subscriptions []string) ([]inventory.Resource, error) {
	mine := func(sub string) bool { return strings.EqualFold(sub, s.cfg.SubscriptionID) }
	if len(subscriptions) > 0 && !slices.ContainsFunc(subscriptions, mine) {
		return nil, nil
	}
	sees := s.sight(c)
	var found []inventory.Resource
	for r, err := range s.tracked(c.Context(), s.sub, func(e inventory.Entry) (bool, error) {
		if !possible(q.Where, entryGraphValue(e, q)) {
			return false, nil
		}
		return sees(e.ID, "")
	}) {
		if err != nil {
			return nil, err
		}
		if q.Limit >= 0 && len(found) >= q.Limit {
			break
		}
		if q.Where(func(field string) string { return text(s.graphValue(r, field)) }) {
			found = append(found, r)
		}
	}
	return found, nil
}

func isGraphField(field string) bool {
	first, rest, path := strings.Cut(field, ".")
	if path {
		return rest != "" && slices.ContainsFunc([]string{"properties", "tags", "sku", "identity"}, func(f string) bool { return strings.EqualFold(f, first) })
	}
	return slices.ContainsFunc(graphColumns, func(f string) bool { return strings.EqualFold(f, field) })
}

// graphValue gives the value of a field, nil if the resource has none.
func (s *Service) graphValue(r inventory.Resource, field string) any {
	first, path, _ := strings.Cut(field, ".")
	id := r.ResourceID()
	switch strings.ToLower(first) {
	case "id":
		return r.ID
	case "name":
		return fullName(id)
	case "type":
		return strings.ToLower(id.Type())
	case "kind":
		return r.Kind
	case "location":
		return r.Location
	case "resourcegroup":
		return strings.ToLower(id.Group())
	case "subscriptionid":
		return id.Subscription()
	case "tenantid":
		return s.cfg.TenantID
	case "tags":
		if value, one := r.Tags[path]; one || path != "" {
			return value
		}
		return r.Tags
	case "sku":
		return dig(r.SKU, path)
	case "identity":
		return dig(r.Identity, path)
	case "properties":
		return dig(r.Properties, path)
	}
	return nil
}

// dig follows a path of member names, whatever their case.
func dig(doc json.RawMessage, path string) any {
	var value any
	if len(doc) == 0 || json.Unmarshal(doc, &value) != nil {
		return nil
	}
	for path != "" {
		var part string
		part, path, _ = strings.Cut(path, ".")
		object, _ := value.(map[string]any)
		value = nil
		for name, member := range object {
			if strings.EqualFold(name, part) {
				value = member
			}
		}
	}
	return value
}

func text(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool, float64:
		return fmt.Sprint(v)
	}
	encoded, _ := json.Marshal(value) // it was decoded from JSON
	return string(encoded)
}

func (s *Service) objects(rows []inventory.Resource, columns []query.Column) any {
	data := make([]map[string]any, 0, len(rows))
	for _, r := range rows {
		row := make(map[string]any, len(columns))
		for _, col := range columns {
			row[col.Name] = s.graphValue(r, col.Field)
		}
		data = append(data, row)
	}
	return data
}

func (s *Service) table(rows []inventory.Resource, columns []query.Column) any {
	heads := make([]any, 0, len(columns))
	for _, col := range columns {
		heads = append(heads, map[string]any{"name": col.Name, "type": columnType(col.Field)})
	}
	data := make([][]any, 0, len(rows))
	for _, r := range rows {
		row := make([]any, 0, len(columns))
		for _, col := range columns {
			row = append(row, s.graphValue(r, col.Field))
		}
		data = append(data, row)
	}
	return map[string]any{"columns": heads, "rows": data}
}

func columnType(field string) string {
	switch strings.ToLower(field) {
	case "sku", "identity", "tags", "properties":
		return "object"
	}
	return "string"
}
